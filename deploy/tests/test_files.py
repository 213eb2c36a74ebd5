"""Files that whoever deploys Cairn takes as they are: the compose file, the systemd unit, the CI/CD component."""

import re

import chart
import server
import yaml
from pod import dockerfile

DEPLOY = chart.ROOT / "deploy"


def seconds(text):
    """A period of a unit or a compose file."""
    number, unit = re.fullmatch(r"(\d+)(s|min|m)?", str(text)).groups()
    return int(number) * (60 if unit in ("m", "min") else 1)


def test_whoever_stops_the_server_waits_longer_than_it_takes():
    for file, name in (("systemd/cairn.service", "TimeoutStopSec="), ("docker/compose.yaml", "stop_grace_period: ")):
        text = (DEPLOY / file).read_text()
        period = re.search(rf"^ *{name}(.*)$", text, re.MULTILINE)[1]
        assert seconds(period) > server.shutdown_limit_seconds() + server.stop_seconds(), f"{file}: {name}{period}"
        said = f"get {server.shutdown_limit_seconds()} s", f"at most {server.stop_seconds()} s"
        assert all(words in text for words in said), f"{file} does not say {said}"


def compose():
    """The only service of the compose file."""
    file = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
    assert set(file) == {"services", "volumes"} and list(file["services"]) == ["cairn"] and list(file["volumes"]) == ["data"]
    return file["services"]["cairn"]


def test_the_compose_file_runs_the_image_as_it_is_meant():
    service, image = compose(), dockerfile.configuration()
    known = {"image", "build", "restart", "environment", "ports", "volumes", "read_only", "tmpfs", "cap_drop", "security_opt",
             "stop_grace_period", "ulimits"}
    assert set(service) == known, set(service) ^ known
    # No `user`, `command`, `entrypoint` or `healthcheck` stands in the way of the image's own.
    assert image["User"] == "65532:65532" and image["Healthcheck"]["Test"]
    assert [entry.split(":") for entry in service["volumes"]] == [["data", volume] for volume in image["Volumes"]]
    assert image["Volumes"].keys() == {dockerfile.environment()["CAIRN_DATA"]}
    assert service["read_only"] is True and service["tmpfs"] == ["/tmp"], "the server needs no other folder"
    assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert [f"{port.split(':')[1]}/tcp" for port in service["ports"]] == list(image["ExposedPorts"])
    # The names are the caller's; without them the service's own, by which other services reach it.
    assert service["environment"] == {"CAIRN_TLS_NAME": "${CAIRN_TLS_NAME:-cairn}"}
    assert set(service["environment"]) <= server.variables()
    build = (DEPLOY / "docker" / service["build"]["context"]).resolve()
    assert build == chart.ROOT and (build / service["build"]["dockerfile"]).is_file()


def test_the_image_s_configuration_leaves_the_environment_its_say():
    """What stands in the image's environment would go before a configuration file that somebody mounts."""
    assert set(dockerfile.environment()) == {"PATH", "CAIRN_DATA"}, dockerfile.environment()
    text = (DEPLOY / "docker" / "cairn.toml").read_text()
    settings = dict(re.findall(r"^([a-z0-9-]+) = (.*)$", text, re.MULTILINE))
    assert settings == {"s3-listen": '["0.0.0.0:9000"]', "root-key-file": '"/data/root-key"'}, settings
    assert dockerfile.configuration()["Cmd"] == ["server", "--config", "/etc/cairn/cairn.toml"]


def test_what_is_encrypted_is_said_alike_everywhere():
    """Who reads one page alone must not take more, or less, for encrypted than the others say."""
    def text(page):
        return " ".join((chart.ROOT / page).read_text().lower().split())

    assert "| secrets of access keys, small objects | encrypted in the metadata" in text("README.md")
    assert "| other objects at rest | not encrypted yet |" in text("README.md")
    for page in ("deploy/helm/cairn/README.md", "docs/gitlab-runner.md"):
        assert "objects over 16 kib are not encrypted at rest yet" in text(page), page
    assert "secrets of access keys, and objects up to 16 kib, lie encrypted in the metadata" in text("deploy/helm/cairn/README.md")


def test_the_component_is_one():
    """What GitLab demands of a component, as far as it can be seen without it: its place, its head, its inputs, its jobs."""
    folder = DEPLOY / "gitlab" / "templates"
    (path,) = folder.iterdir()
    text = path.read_text()
    head, jobs = yaml.safe_load_all(text)
    assert set(head) == {"spec"} and set(head["spec"]) == {"inputs"}
    inputs = head["spec"]["inputs"]
    for name, about in inputs.items():
        assert set(about) == {"default", "description"} and all(about.values()), name
    used = set(re.findall(r"\$\[\[ inputs\.([a-z-]+) \]\]", text))
    assert used == set(inputs) and text.count("$[[") == len(re.findall(r"\$\[\[ inputs\.[a-z-]+ \]\]", text)), used ^ set(inputs)
    login, hidden = jobs.pop("docker-login"), jobs.pop(".docker-cache")
    assert not jobs, f"jobs that nobody asked for: {list(jobs)}"
    assert set(login) == {"stage", "image", "script", "cache", "interruptible"} and set(hidden) == {"cache"}
    assert all(type(line) is str for line in login["script"]), login["script"]
    # One writes what the others read, under a key of the pipeline alone.
    assert login["cache"] | {"policy": "pull"} == hidden["cache"] and login["cache"]["policy"] == "push"
    assert login["cache"]["key"] == "docker-cache-$CI_PIPELINE_ID" and login["cache"]["paths"] == [".docker"]
    # The password comes from a variable by its name, and goes by stdin: not into the file, the process list or the log.
    assert "--password-stdin" in login["script"][-1] and not re.search(r"login.*( -p |--password[ =])", text)
    # The example in the file's head and that of the page name it as GitLab will, and give it inputs that it has.
    for page in (path, folder.parent / "README.md"):
        shown = re.search(r"component: \$CI_SERVER_FQDN/\S+/([a-z-]+)@\S+\n[# ]*inputs: (\{.*\})", page.read_text())
        assert shown[1] == path.stem and set(yaml.safe_load(shown[2])) <= set(inputs), page
