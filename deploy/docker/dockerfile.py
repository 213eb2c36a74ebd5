"""What the last stage of the Dockerfile says of the image, as an OCI configuration has it.

    dockerfile.py env|start|health     the environment, the command, or the health check, its words one a line
"""

import json
import pathlib
import re
import sys

DOCKERFILE = pathlib.Path(__file__).resolve().parent / "Dockerfile"
UNITS = {"s": 10**9, "m": 60 * 10**9}


def instructions():
    """Pairs of instruction and text after the last FROM."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    lines = [line.split(" ", 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    last = max(number for number, (word, *_) in enumerate(lines) if word == "FROM")
    return [(word, rest) for word, rest in lines[last + 1:]]


def health_check(text):
    """`--interval=10s … CMD ["…"]` in Docker's words, times in nanoseconds."""
    options, command = text.split("CMD ", 1)
    result = {"Test": ["CMD", *json.loads(command)]}
    for name, number, unit in re.findall(r"--([a-z-]+)=(\d+)([sm])\b", options):
        result["".join(part.capitalize() for part in name.split("-"))] = int(number) * UNITS[unit]
    return result


def configuration():
    """The `config` of the image. An instruction that is not known here is refused: it would be missing in the image."""
    config = {}
    for word, rest in instructions():
        if word == "ENV":
            config.setdefault("Env", []).extend(rest.split())
        elif word in ("ENTRYPOINT", "CMD"):
            config[word.capitalize()] = json.loads(rest)
        elif word == "USER":
            config["User"] = rest
        elif word == "STOPSIGNAL":
            config["StopSignal"] = rest
        elif word == "EXPOSE":
            config.setdefault("ExposedPorts", {}).update({f"{port}/tcp": {} for port in rest.split()})
        elif word == "VOLUME":
            config.setdefault("Volumes", {}).update({folder: {} for folder in rest.split()})
        elif word == "HEALTHCHECK":
            config["Healthcheck"] = health_check(rest)
        elif (word, rest) != ("COPY", "--from=build /rootfs/ /"):
            sys.exit(f"{DOCKERFILE}: {word} {rest}: dockerfile.py does not know it")
    return config


def environment():
    """The variables that whoever runs the image inherits."""
    return dict(entry.split("=", 1) for entry in configuration()["Env"])


if __name__ == "__main__":
    of = configuration()
    words = {"env": of["Env"], "start": of["Entrypoint"] + of["Cmd"], "health": of["Healthcheck"]["Test"][1:]}
    print("\n".join(words[sys.argv[1]]))
