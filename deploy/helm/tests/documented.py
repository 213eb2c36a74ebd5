"""values.yaml as documentation: every value with its default and the comment that stands over it."""

import json
import re

import chart

LINE = re.compile(r"^(\s*)(?:([A-Za-z0-9_]+):|- ([A-Za-z0-9_]+):)(?:\s+(.*))?$")


def leaves(value, path=""):
    """Paths of all values that hold no further names; items of a list are named once, as in `keys[].name`."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield path
        for name in value[0]:
            yield f"{path}[].{name}"
    else:
        yield path


def comments():
    """The comment over each name of values.yaml, by its path."""
    found, stack, comment = {}, [], []
    for line in (chart.CHART / "values.yaml").read_text().splitlines():
        text = line.strip()
        if text.startswith("#"):
            comment.append(text.lstrip("# "))
            continue
        match = LINE.match(line)
        if match:
            depth = len(match[1]) + (2 if match[3] else 0)
            stack = [entry for entry in stack if entry[0] < depth]
            name = match[2] or match[3]
            path = stack[-1][1] if stack else ""
            in_list = bool(stack) and (match[3] is not None or stack[-1][2])
            if match[3] is not None:
                stack[-1] = (stack[-1][0], stack[-1][1], True)
            whole = f"{path}[].{name}" if in_list else (f"{path}.{name}" if path else name)
            found[whole] = " ".join(comment)
            stack.append((depth, whole, False))
        comment = []
    return found


def default_of(path):
    """A value's default as JSON; of items of a list, the first one's."""
    value = chart.default_values()
    for step in path.replace("[]", ".0").split("."):
        value = value[int(step)] if isinstance(value, list) else value[step]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "see below"
    return json.dumps(value)


def describe(path):
    """What is said of a value: over it, or over what it is part of."""
    said = comments()
    while path:
        if said.get(path):
            return said[path]
        path = path.rpartition(".")[0].removesuffix("[]")
    return ""


def table():
    """The table of the README."""
    lines = ["| value | default | |", "|---|---|---|"]
    for path in leaves(chart.default_values()):
        lines.append(f"| `{path}` | `{default_of(path)}` | {describe(path).replace('|', chr(92) + '|')} |")
    return "\n".join(lines)
