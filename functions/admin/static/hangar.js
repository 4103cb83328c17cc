// Keeps a page current: asks for it again, and puts in what changed. Without this script the page is the same, as of its loading.

const main = document.querySelector("main");
const lost = document.getElementById("lost");
const news = document.getElementById("news");
const every = Number(main.dataset.liveEvery ?? 0) * 1000;
let etag = null;
let failures = 0;
let timer = 0;

// What the server last sent for each live part: only what differs from that is touched, so clocks of ours do not count.
const received = new Map();
const parts = (root) => new Map([...root.querySelectorAll("[data-live]")].map((part) => [part.dataset.live, part]));
for (const [key, part] of parts(document)) received.set(key, still(part));

function still(part) {
  return part.outerHTML.replace(/>[^<]*<\/time>/g, "></time>");
}

function put(old, fresh) {
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const href = focused?.getAttribute("href");
  const open = [...old.querySelectorAll("details")].map((each) => each.open);
  old.replaceChildren(...fresh.childNodes);
  for (const { name, value } of [...fresh.attributes]) old.setAttribute(name, value);
  [...old.querySelectorAll("details")].forEach((each, place) => { each.open = open[place] ?? false; });
  if (focused && focused !== old) {
    const again = [...old.querySelectorAll("a, button, summary")];
    (again.find((each) => href && each.getAttribute("href") === href) ?? again[0])?.focus({ preventScroll: true });
  }
}

function arrange(body, fresh) {
  const mine = parts(body);
  const wanted = [...fresh.children].map((row) => row.dataset.live);
  for (const [key, row] of mine) if (!wanted.includes(key) && !row.contains(document.activeElement)) row.remove();
  let before = body.firstElementChild;
  for (const row of [...fresh.children]) {
    const known = mine.get(row.dataset.live);
    if (known === before && known) before = before.nextElementSibling;
    else if (known && known.contains(document.activeElement)) continue;
    else body.insertBefore(known ?? row, before);
    if (!known) { received.set(row.dataset.live, still(row)); row.classList.add("changed"); }
  }
}

function take(fresh) {
  const arrived = parts(fresh);
  for (const [key, part] of parts(document)) {
    const now = arrived.get(key);
    if (!now) continue;
    const text = still(now);
    if (received.get(key) === text) continue;
    received.set(key, text);
    const stood = part.querySelector(".big")?.textContent;
    put(part, now);
    if (key === "state" && part.querySelector(".big")?.textContent !== stood) document.querySelector("main > .said")?.remove();
    if (part.tagName === "TR") {
      part.classList.remove("changed");
      void part.offsetWidth;
      part.classList.add("changed");
    }
    if (key === "state") news.textContent = part.innerText.split("\n").slice(0, 3).join(", ");
  }
  const bodies = fresh.querySelectorAll("[data-live-rows]");
  document.querySelectorAll("[data-live-rows]").forEach((body, place) => bodies[place] && arrange(body, bodies[place]));
}

function say(text) {
  lost.hidden = !text;
  if (lost.textContent !== text) lost.textContent = text;
}

async function look() {
  try {
    const headers = { "X-Hangar-Live": "1", ...(etag && { "If-None-Match": etag }) };
    const answer = await fetch(location.href, { headers, cache: "no-store", signal: AbortSignal.timeout(20000) });
    failures = 0;
    if (answer.status === 200) {
      etag = answer.headers.get("ETag");
      take(new DOMParser().parseFromString(await answer.text(), "text/html"));
      say("");
    } else if (answer.status === 304) say("");
    else if (answer.status === 401) { say("Your session has ended. Reload the page to sign in; what it shows may be out of date."); return; }
    else if (answer.status === 403) { location.reload(); return; }
    else if (answer.status !== 404) say("The page cannot be refreshed for the moment; what it shows may be out of date.");
  } catch {
    failures += 1;
    say("The dashboard does not answer; what the page shows may be out of date. It tries again by itself.");
  }
  plan();
}

function plan() {
  clearTimeout(timer);
  if (every && !document.hidden) timer = setTimeout(look, Math.min(every * 2 ** failures, 60000));
}

// Ages in words, as shared/domain/remediation.py says them, ticking between two looks.
function span(seconds) {
  if (seconds < 90) return `${Math.round(Math.max(seconds, 0))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${Math.round(seconds / 86400)} days`;
}
const offset = Number(main.dataset.now ?? Date.now()) - Date.now();
function tick() {
  const now = Date.now() + offset;
  for (const time of document.querySelectorAll("time[datetime]")) {
    const seconds = (Date.parse(time.dateTime) - now) / 1000;
    const words = seconds > 0 ? `in ${span(seconds)}` : `${span(-seconds)} ago`;
    if (time.textContent !== words) time.textContent = words;
  }
}

// What an action said holds for the moment it was said in.
if (every) setTimeout(() => document.querySelector("main > .said.busy")?.remove(), 30000);

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : every && look()));
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-once]")) return;
  const button = event.target.querySelector("button[type=submit]");
  setTimeout(() => { button.disabled = true; button.setAttribute("aria-busy", "true"); });
});
addEventListener("pageshow", () => document.querySelectorAll("[data-once] button[type=submit]").forEach((each) => { each.disabled = false; }));
if (document.querySelector("time[datetime]")) setInterval(() => document.hidden || tick(), 1000);
plan();
