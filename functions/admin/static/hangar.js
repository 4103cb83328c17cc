// Keeps a page current: requests it again and updates the parts that changed. Without this script the page shows its state when loaded.

const main = document.querySelector("main");
const offline = document.getElementById("offline");
const announcer = document.getElementById("announcer");
const every = Number(main.dataset.liveEvery ?? 0) * 1000;
let etag = null;
let failures = 0;
let timer = 0;

// What the server last sent for each live part. Only parts that differ from it are updated, so ticking ages do not count.
const received = new Map();
const parts = (root) => new Map([...root.querySelectorAll("[data-live]")].map((part) => [part.dataset.live, part]));
for (const [key, part] of parts(document)) received.set(key, withoutAges(part));

function withoutAges(part) {
  return part.outerHTML.replace(/>[^<]*<\/time>/g, "></time>");
}

function replacePart(old, fresh) {
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

function updateRows(body, fresh) {
  const mine = parts(body);
  const wanted = [...fresh.children].map((row) => row.dataset.live);
  for (const [key, row] of mine) if (!wanted.includes(key) && !row.contains(document.activeElement)) row.remove();
  let before = body.firstElementChild;
  for (const row of [...fresh.children]) {
    const known = mine.get(row.dataset.live);
    if (known === before && known) before = before.nextElementSibling;
    else if (known && known.contains(document.activeElement)) continue;
    else body.insertBefore(known ?? row, before);
    if (!known) { received.set(row.dataset.live, withoutAges(row)); row.classList.add("changed"); }
  }
}

function updatePage(fresh) {
  const arrived = parts(fresh);
  for (const [key, part] of parts(document)) {
    const now = arrived.get(key);
    if (!now) continue;
    const text = withoutAges(now);
    if (received.get(key) === text) continue;
    received.set(key, text);
    const before = part.querySelector(".big")?.textContent;
    replacePart(part, now);
    if (key === "state" && part.querySelector(".big")?.textContent !== before) document.querySelector("main > .notice")?.remove();
    if (part.tagName === "TR") {
      part.classList.remove("changed");
      void part.offsetWidth;
      part.classList.add("changed");
    }
    if (key === "state") announcer.textContent = part.innerText.split("\n").slice(0, 3).join(", ");
  }
  const bodies = fresh.querySelectorAll("[data-live-rows]");
  document.querySelectorAll("[data-live-rows]").forEach((body, place) => bodies[place] && updateRows(body, bodies[place]));
}

function showProblem(text) {
  offline.hidden = !text;
  if (offline.textContent !== text) offline.textContent = text;
}

async function refresh() {
  try {
    const headers = { "X-Hangar-Live": "1", ...(etag && { "If-None-Match": etag }) };
    const response = await fetch(location.href, { headers, cache: "no-store", signal: AbortSignal.timeout(20000) });
    failures = 0;
    if (response.status === 200) {
      etag = response.headers.get("ETag");
      updatePage(new DOMParser().parseFromString(await response.text(), "text/html"));
      showProblem("");
    } else if (response.status === 304) showProblem("");
    else if (response.status === 401) { showProblem("Your session has ended. Reload the page to sign in. What it shows may be out of date."); return; }
    else if (response.status === 403) { location.reload(); return; }
    else if (response.status !== 404) showProblem("The page cannot be refreshed at the moment. What it shows may be out of date.");
  } catch {
    failures += 1;
    showProblem("The dashboard does not answer. What the page shows may be out of date. It tries again automatically.");
  }
  scheduleRefresh();
}

function scheduleRefresh() {
  clearTimeout(timer);
  if (every && !document.hidden) timer = setTimeout(refresh, Math.min(every * 2 ** failures, 60000));
}

// Ages in words, as in shared/domain/remediation.py, updated between two refreshes.
function formatSpan(seconds) {
  if (seconds < 90) return `${Math.round(Math.max(seconds, 0))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${Math.round(seconds / 86400)} days`;
}
const offset = Number(main.dataset.now ?? Date.now()) - Date.now();
function tick() {
  const now = Date.now() + offset;
  for (const time of document.querySelectorAll("time[datetime]")) {
    const seconds = (Date.parse(time.dateTime) - now) / 1000;
    const words = seconds > 0 ? `in ${formatSpan(seconds)}` : `${formatSpan(-seconds)} ago`;
    if (time.textContent !== words) time.textContent = words;
  }
}

// A notice about work in progress is true only for a short time.
if (every) setTimeout(() => document.querySelector("main > .notice.busy")?.remove(), 30000);

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : every && refresh()));
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-once]")) return;
  const button = event.target.querySelector("button[type=submit]");
  setTimeout(() => { button.disabled = true; button.setAttribute("aria-busy", "true"); });
});
// The Back button may show a kept copy of the page, with a form that was sent already.
addEventListener("pageshow", (event) => event.persisted && location.reload());
addEventListener("pageshow", () => document.querySelectorAll("[data-once] button[type=submit]").forEach((each) => { each.disabled = false; }));
if (document.querySelector("time[datetime]")) setInterval(() => document.hidden || tick(), 1000);
scheduleRefresh();
