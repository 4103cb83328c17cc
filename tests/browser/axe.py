"""Accessibility faults of a page, by axe-core."""

from axe_playwright_python.sync_playwright import Axe


def find_faults(page) -> list[str]:
    """What axe-core finds, one line each."""
    found = Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    return [
        f"{fault['id']}: {node['target']} {node['failureSummary']}"
        for fault in found.response["violations"]
        for node in fault["nodes"]
    ]
