"""axe-core in a page: what people with a screen reader, a keyboard or weak eyes cannot use."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page

from support.server import REPOSITORY

_AXE = REPOSITORY / "web/node_modules/axe-core/axe.min.js"
GRAVE = ("serious", "critical")
_RUN = """async (rules) => {
  const only = rules === null ? {} : { runOnly: { type: "rule", values: rules } };
  const { violations } = await axe.run(document, { resultTypes: ["violations"], ...only });
  return violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, nodes: nodes.map((node) => node.html) }));
}"""


# What depends on the theme.
COLOUR_RULES = ("color-contrast", "link-in-text-block")


async def grave_faults(page: Page, rules: tuple[str, ...] | None = None) -> list[dict[str, Any]]:
    """Serious and critical faults of the page as it stands, open shadow roots included.

    Args:
        rules: Only these, by axe's names.
    """
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(_AXE.read_text())
    found: list[dict[str, Any]] = await page.evaluate(_RUN, rules)
    return [fault for fault in found if fault["impact"] in GRAVE]
