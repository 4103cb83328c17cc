"""The docs name every setting, event, command, target, column and procedure, and none that does not exist."""

import re
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path

import click
import pytest

from ops.cli import build_cli
from shared.doctor.checks import DATABASE, OUTSIDE
from shared.settings.config import Config, declarations
from tools import settings_doc

ROOT = Path(__file__).resolve().parents[2]
DOCS = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]}
EVERYWHERE = "\n".join(DOCS.values())
SQL = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "supabase" / "migrations").glob("*.sql")))
# The columns of the original system, whose meaning its own users know.
ORIGINAL_COLUMNS = frozenset(
    re.findall(
        r"\w+",
        "id user_id fly_app_name fly_org_slug status region docker_image deployed_at last_health_check health_status"
        " error_message retry_count monthly_cost_estimate_usd cpu_count memory_mb created_at updated_at deleted_at",
    )
)
VENDORS = re.compile(r"^(gcloud|docker|fly|curl|supabase link|supabase db|PROJECT=)")


def section(page, heading):
    """The text under a heading, up to the next one of its level."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", DOCS[page], re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no heading {heading!r}"
    return found[1]


def first_cells(table):
    """The backticked words in the first column of every table row."""
    rows = re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)
    return {word for row in rows for ticked in re.findall(r"`([^`]+)`", row) for word in re.split(r"[,\s]+", ticked)}


def columns_of(table):
    """The columns a table is created with, or given later."""
    (body,) = re.findall(rf"^create table {re.escape(table)} \((.*?)^\)", SQL, re.MULTILINE | re.DOTALL)
    named = re.findall(r"^  ([a-z_]+) [a-z]", body, re.MULTILINE)
    added = re.findall(rf"^alter table {re.escape(table)}\s+add column (?:if not exists )?([a-z_]+)", SQL, re.MULTILINE)
    return {name for name in [*named, *added] if name != "check"}


def setting_names(fields=None):
    """Every variable that the functions read, or those of some fields of `Config`."""
    return {name for field, setting in declarations() if fields is None or field in fields for name in setting.names}


def code_lines(text):
    """The lines of indented and of fenced shell blocks, without prompts and comments."""
    fenced = [
        line
        for block in re.findall(r"^```(?:sh|bash)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    indented = re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    lines = [re.sub(r"(^|\s{2,})#.*", "", line).strip() for line in [*fenced, *indented]]
    return [line for line in lines if line]


def commands(group=None, prefix=""):
    """Every command below `hangar`, by the words that call it."""
    group, found = group or build_cli(), {}
    for name, command in group.commands.items():
        found[f"{prefix}{name}"] = command
        if isinstance(command, click.Group):
            found |= commands(command, f"{prefix}{name} ")
    return found


def find_command(words):
    """The command that these words call, and the words after its name."""
    known = commands()
    for length in (2, 1):
        if (name := " ".join(words[:length])) in known and len(words) >= length:
            return known[name], words[length:]
    return None, words


def targets():
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def tracked(*patterns):
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout, so what is tracked is not known")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_page_of_settings_is_the_generated_one():
    """After a change of a declaration, run `python -m tools.settings_doc`."""
    assert settings_doc.PAGE.read_text(encoding="utf-8") == settings_doc.render_page()


def test_every_setting_of_the_functions_is_on_its_page_and_no_other():
    listed = first_cells(section("settings.md", "Required") + section("settings.md", "Optional")) - {"or"}
    assert listed == setting_names()
    assert len(listed) == len(Config.model_fields) + 1


def test_every_secret_setting_says_where_it_lives_and_what_it_opens():
    secret = setting_names({field for field in Config.model_fields if settings_doc.is_secret(field)})
    assert len(secret) == 9
    assert secret - first_cells(section("security.md", "The secrets")) == set()


def test_every_setting_of_a_machine_is_in_the_backend_contract():
    source = (ROOT / "examples" / "backend" / "backend.py").read_text()
    read = set(re.findall(r'env(?:\.get\(|\[)"([A-Z_]+)"', source))
    assert read == first_cells(section("backend-contract.md", "Environment"))


def test_every_setting_of_the_installation_is_explained():
    missing = {
        name for name in columns_of("hangar.settings") - {"only_row", "updated_at"} if f"`{name}`" not in EVERYWHERE
    }
    assert not missing


def test_every_event_type_is_explained():
    (listed,) = re.findall(r"event_type text not null check \(event_type in \((.*?)\)\)", SQL, re.DOTALL)
    types = set(re.findall(r"'([a-z_]+)'", listed))
    assert len(types) >= 20
    assert {name for name in types if f"`{name}`" not in EVERYWHERE} == set()


def test_every_added_column_of_the_row_is_in_the_table():
    added = columns_of("public.user_fly_apps") - ORIGINAL_COLUMNS
    assert len(added) >= 25
    assert added - first_cells(section("database.md", "The row: `public.user_fly_apps`")) == set()


def test_every_procedure_is_explained_with_its_arguments():
    page = re.findall(r"`(fly_\w+)\(([^`]*)\)`", DOCS["database.md"])
    shown = {(name, *re.findall(r"\bp_\w+", given)) for name, given in page}
    made = re.findall(
        r"^create (?:or replace )?function public\.(fly_\w+)\((.*?)\) returns", SQL, re.MULTILINE | re.DOTALL
    )
    assert len(made) >= 18
    assert {(name, *re.findall(r"\bp_\w+", given)) for name, given in made} - shown == set()
    assert {name for name, *_ in shown} == {name for name, _ in made}


def test_every_view_and_table_of_the_api_is_explained():
    made = set(re.findall(r"^create (?:table|view) public\.(\w+)", SQL, re.MULTILINE))
    assert {name for name in made if name not in DOCS["database.md"]} == set()


def test_the_number_of_checks_of_the_doctor_is_right():
    assert f"# {len(OUTSIDE) + len(DATABASE)} checks;" in DOCS["README.md"]
    counts = re.search(r"(\d+) ok, (\d+) warning, (\d+) wrong", DOCS["doctor.md"])
    assert sum(map(int, counts.groups())) == len(OUTSIDE) + len(DATABASE)
    tables = re.findall(r"^\| `(\w+)` \|", DOCS["doctor.md"], re.MULTILINE)
    assert len(tables) == len(OUTSIDE) + len(DATABASE)


def test_the_number_of_promises_is_right():
    numbers = re.findall(r"^\| I(\d+) \|", DOCS["reliability.md"], re.MULTILINE)
    assert [int(number) for number in numbers] == list(range(1, 14))
    assert "thirteen promises" in DOCS["README.md"]
    assert "thirteen promises" in DOCS["reliability.md"]


def test_every_command_is_on_a_page():
    """Some are known to most as a make target."""
    named = {name for name in commands() if f"hangar {name}" in EVERYWHERE or f"make {name}" in EVERYWHERE}
    assert set(commands()) - named == set()


def test_every_make_target_is_on_a_page():
    assert {name for name in targets() if f"make {name}" not in EVERYWHERE} == set()


@pytest.mark.parametrize("page", sorted(DOCS))
def test_a_page_shows_only_commands_and_targets_that_exist(page):
    for line in code_lines(DOCS[page]):
        words = line.split()
        if words[0] == "make":
            assert {word for word in words[1:] if re.fullmatch(r"[a-z-]+", word)} <= targets(), line
        if words[0] in ("hangar", ".venv/bin/hangar"):
            command, rest = find_command(words[1:])
            assert command, line
            options = {
                option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
            }
            assert {word.split("=")[0] for word in rest if word.startswith("--") and word != "--"} <= options, line
        if words[:2] == ["python", "-m"]:
            assert (ROOT / f"{words[2].replace('.', '/')}.py").exists() or (
                ROOT / words[2].replace(".", "/") / "__main__.py"
            ).exists()
    for name, rest in re.findall(r"`(?:\.venv/bin/)?hangar ([a-z][a-z-]*)([^`]*)`", DOCS[page]):
        assert find_command([name, *rest.split()])[0], f"{page} names hangar {name}"
    for name in re.findall(r"`make ([a-z-]+)`", DOCS[page]):
        assert name in targets(), f"{page} names make {name}"


def test_the_command_line_says_what_every_command_is_for():
    assert [name for name, command in commands().items() if not command.help] == []


def anchors(path):
    """The anchors that a forge makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_relative_link_leads_somewhere():
    for page in tracked("*.md"):
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = link.partition("#")
            target = page.parent / file if file else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_every_file_that_a_page_names_exists():
    places = "shared|functions|ops|local|deploy|supabase|tests|docs|bench"
    for name, page in DOCS.items():
        for path in re.findall(rf"(?<![\w/.-])(?:{places})/[\w./-]+\.(?:py|sql|md|sh|toml|yaml|lock|example)\b", page):
            assert (ROOT / path).exists(), f"{name} names {path}"


def test_what_could_not_be_run_says_so():
    """On the deploy page, every block that calls a vendor is marked: not run, or run with a replacement."""
    blocks = re.split(r"\n\n(?=    \S)", DOCS["deploy.md"])
    marked = 0
    for before, block in pairwise(blocks):
        lines = [line.strip() for line in block.split("\n\n")[0].splitlines()]
        if any(VENDORS.match(line) for line in lines):
            paragraph = before.rpartition("\n\n")[2].lower()
            assert "not run here" in paragraph or "*run in the tests*" in paragraph, lines[0]
            marked += 1
    assert marked >= 5


@pytest.mark.parametrize("name", ["fly.toml", "fly.on-demand.toml"])
def test_the_files_for_hosts_agree_with_the_image(name):
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    fly = tomllib.loads((ROOT / "deploy" / name).read_text())
    assert f"PORT={fly['http_service']['internal_port']}" in dockerfile
    assert fly["env"]["PORT"] == str(fly["http_service"]["internal_port"])
    assert set(fly["env"]) - {"PORT", "THREADS"} <= setting_names()


def test_the_containers_of_one_host_get_every_setting_of_the_functions():
    """One under its second name too would be given twice."""
    passed = set(re.findall(r"^    ([A-Z_]+):$", (ROOT / "deploy" / "compose.yaml").read_text(), re.MULTILINE))
    assert passed - {"FUNCTION_TARGET"} == {setting.name for _, setting in declarations()}


def test_no_tracked_file_names_a_package_index_or_somebodys_computer():
    # In halves, so that this file does not find itself.
    hosts = ["py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "npm" + "js.com", "proxy.go" + "lang.org"]
    places = ["/ro" + "ot/", "/ho" + "me/", "/Us" + "ers/", "/wo" + "rk/"]
    forbidden = re.compile("|".join(map(re.escape, [*hosts, *places])))
    found = []
    for path in tracked():
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in forbidden.finditer(text)]
    assert not found
