"""Documents that list things list all of them."""

import json
import re
import tomllib
from pathlib import Path

from tallylight.config import OTHER_VARIABLES, PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]


def mentions(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w@/-]){re.escape(word)}(?![\w/-])", text) is not None


def direct_dependencies() -> set[str]:
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())
    requirements = [*python["project"]["dependencies"], *python["dependency-groups"]["dev"]]
    rust = tomllib.loads((ROOT / "engine/Cargo.toml").read_text())["workspace"]["dependencies"]
    web = json.loads((ROOT / "web/package.json").read_text())
    return {
        *(re.split(r"[<>=\[]", requirement, maxsplit=1)[0] for requirement in requirements),
        *(name for name in rust if not name.startswith("tallylight-")),
        *web["dependencies"],
        *web["devDependencies"],
    }


def test_every_dependency_has_its_reason() -> None:
    document = (ROOT / "docs/dependencies.md").read_text()
    assert {name for name in direct_dependencies() if not mentions(document, name)} == set()


def test_every_setting_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for_tests_only = {"TALLYLIGHT_AUDIT_NONCES", "TALLYLIGHT_DEMO_URL"}
    settings = {PREFIX + name.upper() for name in Settings.model_fields} | OTHER_VARIABLES
    written = set(re.findall(r"`(TALLYLIGHT_[A-Z_]+)`", readme))
    assert written == settings - for_tests_only


def test_every_package_and_crate_is_in_the_architecture() -> None:
    document = (ROOT / "ARCHITECTURE.md").read_text()
    packages = {path.parent.name for path in (ROOT / "src/tallylight").glob("*/__init__.py")}
    crates = {path.parent.name for path in (ROOT / "engine/crates").glob("*/Cargo.toml")}
    assert {name for name in packages if f"`{name}/`" not in document} == set()
    assert {name for name in crates if f"`{name}`" not in document} == set()


def test_no_other_host_than_the_public_index_is_locked() -> None:
    hosts = set(re.findall(r"https?://([^/\"]+)", (ROOT / "uv.lock").read_text()))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


def test_the_border_lists_every_problem_code_and_event_of_the_engine() -> None:
    document = (ROOT / "docs/engine-api.md").read_text()
    crates = ROOT / "engine/crates"
    table = (crates / "engine/src/http/problem.rs").read_text().split("problems! {")[1].split("\n}")[0]
    codes = set(re.findall(r'^ +\w+ "([a-z_]+)"', table, re.MULTILINE))
    assert len(codes) > 10
    assert {code for code in codes if f"`{code}`" not in document} == set()
    # Sessions of viewers are reported by the WebRTC crate; the engine's other events by `emit`.
    sources = "".join(path.read_text() for path in (crates / "engine/src").rglob("*.rs"))
    emitted = set(re.findall(r'emit\(\s*"([a-z_]+)"', sources)) | {"whep_session_opened", "whep_session_closed"}
    paragraph = document.split("Events: ")[1].split("\n\n")[0].split("Names: ")[1]
    declared = set(re.findall(r"`([a-z_]+)`", re.sub(r"\([^)]*\)", "", paragraph)))
    assert declared == emitted
