"""What the server's source says of itself, for those who must agree with it."""

import re

import chart

SOURCE = chart.ROOT / "crates" / "cairn" / "src"


def _seconds(file, constant):
    """A constant of type Duration."""
    (seconds,) = re.findall(rf"^const {constant}: Duration = Duration::from_secs\((\d+)\);", (SOURCE / file).read_text(), re.MULTILINE)
    return int(seconds)


def shutdown_limit_seconds():
    """What running requests get at a stop, where nobody says otherwise."""
    return _seconds("config/mod.rs", "SHUTDOWN_LIMIT")


def stop_seconds():
    """The most that a stop takes after running requests: two tasks in the background, the engine and the metadata one after
    the other, and the runtime."""
    text = (SOURCE / "server/shutdown.rs").read_text()
    assert text.count("within(\"") == 2 and "[self.keeper, self.admin]" in text, "the server stops other parts now"
    return 2 * _seconds("server/shutdown.rs", "BACKGROUND_LIMIT") + 2 * _seconds("server/shutdown.rs", "PARTS_LIMIT") + _seconds(
        "server/mod.rs", "RUNTIME_END")


def names(file, constant):
    """A constant list of texts."""
    (body,) = re.findall(rf"^const {constant}: \[&str; \d+\] = \[(.*?)\];", (SOURCE / file).read_text(), re.MULTILINE | re.DOTALL)
    return re.findall(r'"([^"]*)"', body)


def settings():
    """Names of the server's configuration file."""
    (body,) = re.findall(r"struct Settings \{\n(.*?)^\}", (SOURCE / "config/settings.rs").read_text(), re.MULTILINE | re.DOTALL)
    return {name.replace("_", "-") for name in re.findall(r"^    pub\(crate\) ([a-z0-9_]+):", body, re.MULTILINE)}


def variables():
    """Variables of the environment that the server reads."""
    return set(re.findall(r'"(CAIRN_[A-Z0-9_]+)"', (SOURCE / "config/settings.rs").read_text()))
