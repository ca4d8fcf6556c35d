"""Names of pages: what is found, and from where."""

from pathlib import Path

import pytest

from ternevo.settings import pages
from ternevo.settings.command_line import parse

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
CARTPOLE = EXPERIMENTS / "gymnax_cartpole.yaml"


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("cartpole", "gymnax_cartpole"),
        ("cartpole.yaml", "gymnax_cartpole"),
        ("gymnax_cartpole", "gymnax_cartpole"),
        ("gymnax_cartpole.yml", "gymnax_cartpole"),
        ("CartPole-v1", "gymnax_cartpole"),
        ("gymnax/CartPole-v1", "gymnax_cartpole"),
        ("ant", "brax_ant"),
        ("brax/ant", "brax_ant"),
        ("pendulum", "gymnax_pendulum"),
        ("inverted-pendulum", "brax_inverted_pendulum"),
        ("gymnax/MountainCar-v0", "gymnax_mountaincar"),
        ("gymnax/MountainCarContinuous-v0", "gymnax_mountaincar_continuous"),
        ("Breakout-MinAtar", "gymnax_breakout_minatar"),
        ("digits", "digits"),
    ],
)
def test_a_name_means_a_page_from_anywhere(name, page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pages.find(Path(name)) == EXPERIMENTS / f"{page}.yaml"


def test_the_command_line_takes_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse(["--config", "cartpole"]) == parse(["--config", str(CARTPOLE)])
    assert parse(["--config", "cartpole", "--strategy", "ppo"]).strategy_name == "ppo"


def test_an_existing_file_wins_but_not_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("cartpole").mkdir()
    assert pages.find(Path("cartpole")) == CARTPOLE
    Path("cartpole").rmdir()
    Path("cartpole").write_text("env: gymnax/Acrobot-v1")
    assert pages.find(Path("cartpole")) == Path("cartpole")
    assert parse(["--config", "cartpole"]).env == "gymnax/Acrobot-v1"


def test_a_sweep_has_names_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pages.find(Path("cartpole_grid"), "sweep") == EXPERIMENTS / "sweeps/cartpole_grid.yaml"
    with pytest.raises(pages.PageError, match="nor a sweep of that name"):
        pages.find(Path("ant"), "sweep")
    with pytest.raises(pages.PageError, match="nor a page of that name"):
        pages.find(Path("cartpole_grid"))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("cartpol", "'cartpole'"),
        ("brax_halfchetah", "'halfcheetah'"),
        ("/nowhere/brax_ant.yaml", "'ant'"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_and_the_list(name, near):
    with pytest.raises(pages.PageError) as error:
        pages.find(Path(name))
    assert str(error.value).startswith(f"{name} cannot be read: there is neither such a file")
    assert f"Did you mean {near}" in str(error.value)
    assert all(page in str(error.value) for page in ("cartpole", "hopper", "digits"))


def test_a_name_too_long_for_a_file_is_refused_as_any_other():
    with pytest.raises(pages.PageError, match="neither such a file"):
        pages.find(Path("a" * 5000))


@pytest.mark.parametrize("kind", ["page", "sweep"])
def test_no_two_files_have_the_same_name(kind):
    names = [*pages.shipped(kind), *map(pages._without_suite, pages.shipped(kind))]
    assert len({pages._simplified(name) for name in names}) == len(set(names))


def test_an_installed_package_has_them_in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "checkout", lambda: None)
    monkeypatch.setattr(pages, "__file__", str(tmp_path / "ternevo" / "settings" / "pages.py"))
    (tmp_path / "ternevo" / "pages").mkdir(parents=True)
    page = tmp_path / "ternevo" / "pages" / "brax_ant.yaml"
    page.write_text("env: brax/ant")
    assert pages.shipped() == {"brax_ant": page} and pages.find(Path("ant")) == page
