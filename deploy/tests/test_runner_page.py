"""The page on GitLab Runner: each block that somebody copies is what it should be, and no option is left unsaid."""

import re
import shlex
import tomllib

import chart
import server
import yaml

PAGE = chart.ROOT / "docs" / "gitlab-runner.md"
# Of the runner's sections beside its cache: what the page's blocks use. The cache's own come from `cairn doctor`, which
# knows them all.
NAMES = {
    "runners": {"name", "url", "token", "executor", "environment", "docker", "kubernetes", "cache"},
    "runners.docker": {"image", "volumes"},
    "runners.kubernetes": {"volumes"},
    "runners.kubernetes.volumes": {"config_map", "secret"},
    "runners.kubernetes.volumes.config_map": {"name", "mount_path", "read_only"},
}
# Other stores' sections.
NOT_S3 = {"s3", "gcs", "azure"}
JOB = {"stage", "script", "cache"}


def blocks(text):
    """Indented blocks, without their indent."""
    for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE):
        yield re.sub(r"^    ", "", block.strip("\n") + "\n", flags=re.MULTILINE)


def kind(block):
    """Of which language a block is."""
    if block.startswith("["):
        return "toml"
    return "shell" if block.startswith("cairn ") else "yaml"


def cache_names():
    return {"runners.cache": set(server.names("doctor/runner_file.rs", "CACHE_KEYS")),
            "runners.cache.s3": set(server.names("doctor/runner_file.rs", "S3_KEYS"))}


def check_names(table, section):
    """Refuses what the runner would pass over."""
    known = (NAMES | cache_names())[section]
    for name, value in table.items():
        assert name in known, f"[{section}]: {name} is no option"
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                check_names(inner, f"{section}.{name}")


def check_runner(text, with_keys, more=frozenset(), port=9000):
    """A `config.toml` that brings a runner to Cairn; `more` is what else its section on S3 has."""
    config = tomllib.loads(text)
    assert set(config) == {"runners"} and len(config["runners"]) == 1, config.keys()
    (runner,) = config["runners"]
    check_names(runner, "runners")
    cache = runner["cache"]
    assert cache["Type"] == "s3" and cache["Shared"] is True
    s3 = cache["s3"]
    needed = {"ServerAddress", "BucketName", "BucketLocation", "AuthenticationType", "PathStyle"}
    assert set(s3) == needed | ({"AccessKey", "SecretKey"} if with_keys else set()) | more, set(s3)
    assert s3["AuthenticationType"] == "access-key", s3
    assert "://" not in s3["ServerAddress"] and s3["ServerAddress"].endswith(f":{port}") and s3["PathStyle"] is True
    return runner


def test_every_block_of_the_page_is_read():
    runners, jobs, helm = [], {}, []
    for block in blocks(PAGE.read_text()):
        if kind(block) == "toml":
            runners.append(check_runner(block, with_keys=True))
        elif kind(block) == "yaml":
            found = yaml.safe_load(block)
            if "runners" in found:
                assert set(found) == {"runners"} and set(found["runners"]) == {"cache", "config"}, found
                assert set(found["runners"]["cache"]) == {"secretName"}
                helm.append(check_runner(found["runners"]["config"], with_keys=False))
            else:
                jobs |= found
    by_executor = {runner.get("executor"): runner for runner in runners}
    assert set(by_executor) == {None, "docker", "shell"} and len(helm) == 1, by_executor.keys()
    certificates = "/etc/gitlab-runner/certs"
    (mounted,) = [volume for volume in by_executor["docker"]["docker"]["volumes"] if certificates in volume]
    assert re.fullmatch(rf"/[^:]+\.crt:{certificates}/ca\.crt:ro", mounted), mounted
    assert [entry.split("=")[0] for entry in by_executor["shell"]["environment"]] == ["SSL_CERT_FILE"]
    (mount,) = helm[0]["kubernetes"]["volumes"]["config_map"]
    # What the chart makes without values.
    objects = chart.manifests()
    toml = chart.one(objects, "ConfigMap", "cairn")["data"]["cairn.toml"]
    assert f'ca-config-map = "{mount["name"]}"' in toml and mount["mount_path"] == certificates
    assert set(jobs) == {"docker-login", "build"} and all(set(job) <= JOB for job in jobs.values()), jobs
    assert jobs["docker-login"]["cache"] | {"policy": "pull"} == jobs["build"]["cache"]


def helm_blocks(text):
    """Values of the runner's chart that a text holds."""
    found = [yaml.safe_load(block) for block in blocks(text) if block.startswith("runners:")]
    assert all(set(values) == {"runners"} and set(values["runners"]) == {"cache", "config"} for values in found), found
    return [values["runners"] for values in found]


def test_the_notes_of_the_chart_are_the_values_of_the_page():
    """Whoever copies what `helm install` printed gets a warm cache, as whoever copies from the page."""
    (page,) = helm_blocks(PAGE.read_text().replace("cairn.NAMESPACE.svc", "cairn.default.svc"))
    (notes,) = helm_blocks(chart.notes())
    assert notes["cache"] == page["cache"] and tomllib.loads(notes["config"]) == tomllib.loads(page["config"]), notes


def test_the_notes_of_the_chart_are_ready_to_use_with_any_values():
    """CA, names, port and key are those of the release."""
    bucket = {"buckets": [{"name": "gitlab-cache", "cache": True}]}
    keys = [{"name": "reader", "bucket": "gitlab-cache", "readOnly": True}, {"name": "team", "bucket": "gitlab-cache", "prefix": "team/"}]
    certificate = {"mode": "secret", "secretName": "own", "names": ["cache.lan"]}
    public = chart.value_sets()["public-certificate"]
    # values; CA's ConfigMap, host and port, Secret, options beside those that are always there.
    table = [
        ({}, "store-ca", "store.ci.svc:9000", "store-runner", {}),
        (chart.value_sets()["six-disks"], "store-ca", "store.ci.svc:443", "store-runner", {}),
        (bucket | {"keys": keys}, "store-ca", "store.ci.svc:9000", "store-team", {"Path": "team"}),
        (bucket | {"keys": keys[:1]}, "store-ca", "store.ci.svc:9000", "", {}),
        ({"tls": {"mode": "off"}}, None, "store.ci.svc:9000", "store-runner", {"Insecure": True}),
        ({"tls": certificate}, None, "cache.lan:9000", "store-runner", {}),
        (public, None, "cache.example.org:9000", "store-runner", {}),
    ]
    for values, authority, address, secret, more in table:
        text = chart.notes(values | {"fullnameOverride": "store"}, namespace="ci")
        (helm,) = helm_blocks(text)
        runner = check_runner(helm["config"], False, {"Insecure"} & set(more), address.partition(":")[2])
        cache, s3 = runner["cache"], runner["cache"]["s3"]
        assert helm["cache"] == {"secretName": secret} and s3["ServerAddress"] == address, (helm, s3)
        assert cache.get("Path") == more.get("Path") and s3.get("Insecure") == more.get("Insecure"), cache
        mounts = runner.get("kubernetes", {}).get("volumes", {}).get("config_map", [])
        wanted = [{"name": authority, "mount_path": "/etc/gitlab-runner/certs", "read_only": True}] if authority else []
        assert mounts == wanted, mounts
        # What is copied into the runner's namespace is what the values name, and nothing else.
        copied = re.search(r"for what in (.*); do", text)
        names = ([f"secret/{secret}"] if secret else []) + ([f"configmap/{authority}"] if authority else [])
        assert copied[1].split() == names, copied[1]
        assert ("mount that at /etc/gitlab-runner/certs" in text) == (values.get("tls") == certificate), text
    # Nothing for a runner where no bucket is a cache.
    assert "runner" not in chart.notes({"buckets": [{"name": "backups"}], "keys": []})


def test_what_the_notes_copy_is_the_same_object_in_another_namespace():
    """Without what is the former's alone: with its version, a second copy would be refused as a conflict."""
    data = {"accesskey": "bmFtZXNwYWNlOiB4", "secretkey": "dWlk"}
    there = {"apiVersion": "v1", "data": data, "kind": "Secret", "metadata": {
        "name": "cairn-runner", "namespace": "default", "resourceVersion": "17", "uid": "8a0e"}, "type": "Opaque"}
    (program,) = re.findall(r"\| *\n +(sed .*) \|\n", chart.notes())
    copied = yaml.safe_load(chart.command(*shlex.split(program), given=yaml.safe_dump(there)))
    assert copied == there | {"metadata": {"name": "cairn-runner", "namespace": "RUNNER"}}, copied


def test_no_option_is_left_unsaid():
    said = set(re.findall(r"`([A-Za-z]+)(?: = [^`]*)?`", PAGE.read_text()))
    options = set.union(*cache_names().values()) - NOT_S3
    assert len(options) > 20 and not options - said, f"not on the page: {sorted(options - said)}"


def test_variables_are_those_of_their_options():
    """The runner derives a variable from its option, but for one."""
    irregular = {"MaxUploadedArchiveSize": "CACHE_MAXIMUM_UPLOADED_ARCHIVE_SIZE"}
    of_s3 = cache_names()["runners.cache.s3"]
    pairs = re.findall(r"\| `([A-Za-z0-9]+)` \| `(CACHE_[A-Z0-9_]+)`", PAGE.read_text())
    assert len(pairs) == 14, pairs
    for option, variable in pairs:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", option).upper()
        assert variable == irregular.get(option, f"CACHE_{'S3_' if option in of_s3 else ''}{words}"), option


def test_a_wrong_block_is_noticed():
    for wrong in ("Typ = 's3'", "Type = 's3'\n[runners.cache.s3]\nServerAdress = 'a:9000'"):
        try:
            check_names(tomllib.loads(f"[[runners]]\n[runners.cache]\n{wrong}")["runners"][0], "runners")
        except AssertionError as error:
            assert "is no option" in str(error)
        else:
            raise AssertionError(f"{wrong} passed")
