"""Alerts and dashboard: right for Prometheus, each alert fires and stays silent where it should, each metric exists."""

import json
import re
import tempfile
import pathlib

import yaml

import chart

PROMTOOL = chart.TOOLS / "bin" / "promtool"
RUNBOOKS = chart.ROOT / "docs" / "runbooks"
ENABLED = {"monitoring": {"rules": {"enabled": True}, "dashboard": {"enabled": True}}}
# Of Prometheus itself. Nothing of the kubelet's: it measures no volume that is a folder of the node, as local-path's are.
FOREIGN = {"up"}
METRIC = re.compile(r"\b(cairn_[a-z0-9_]+|[a-z][a-z0-9_]*(?=\{))")


def rules():
    """The groups as Prometheus gets them."""
    return chart.one(chart.manifests(ENABLED), "PrometheusRule")["spec"]["groups"]


def dashboard():
    return json.loads(chart.one(chart.manifests(ENABLED), "ConfigMap", "cairn-dashboard")["data"]["cairn.json"])


def dashboard_expressions():
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def rule_expressions():
    return [rule["expr"] for group in rules() for rule in group["rules"]]


def metrics_of(expressions):
    return {name for text in expressions for name in METRIC.findall(text)}


def metric_names():
    """All metrics that alerts and dashboard name."""
    return metrics_of(rule_expressions() + dashboard_expressions())


def promtool(verb, name, content, folder):
    path = pathlib.Path(folder) / name
    path.write_text(yaml.safe_dump(content))
    return chart.command(PROMTOOL, *verb, path)


def test_prometheus_reads_the_alerts_and_the_panels():
    with tempfile.TemporaryDirectory() as folder:
        said = promtool(("check", "rules"), "rules.yaml", {"groups": rules()}, folder)
        assert f"{sum(len(group['rules']) for group in rules())} rules found" in said, said
        panels = [text.replace("$__rate_interval", "5m") for text in dashboard_expressions()]
        records = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(panels)]
        promtool(("check", "rules"), "panels.yaml", {"groups": [{"name": "panels", "rules": records}]}, folder)


SERIES = 'job="cairn", namespace="default", pod="cairn-0"'
DISK = SERIES + ', disk="/var/lib/cairn/disk-0"'
# alert: (series that make it fire, series that must not), each as {name{labels}: values a minute}
FIRING = {
    "CairnDown": ({f"up{{{SERIES}}}": "0x400"}, {f"up{{{SERIES}}}": "1x400"}),
    "CairnNotWritable": ({f"cairn_writable{{{SERIES}}}": "0x400"}, {f"cairn_writable{{{SERIES}}}": "1x400"}),
    "CairnDiskNotWritable": ({f"cairn_disk_writable{{{DISK}}}": "0x400"}, {f"cairn_disk_writable{{{DISK}}}": "1x400"}),
    "CairnDiskAlmostFull": (
        {f"cairn_disk_free_bytes{{{DISK}}}": "14x400", f"cairn_disk_total_bytes{{{DISK}}}": "100x400"},
        {f"cairn_disk_free_bytes{{{DISK}}}": "16x400", f"cairn_disk_total_bytes{{{DISK}}}": "100x400"}),
    "CairnMetaVolumeAlmostFull": (
        {f"cairn_meta_free_bytes{{{SERIES}}}": "19x400", f"cairn_meta_total_bytes{{{SERIES}}}": "100x400"},
        {f"cairn_meta_free_bytes{{{SERIES}}}": "21x400", f"cairn_meta_total_bytes{{{SERIES}}}": "100x400"}),
    "CairnRepairStuck": ({f"cairn_missing_shards{{{SERIES}}}": "3x400"}, {f"cairn_missing_shards{{{SERIES}}}": "3x200 0x200"}),
    "CairnGarbageGrows": (
        {f"cairn_garbage_bytes{{{SERIES}}}": "2000000000+1000000x400"},
        {f"cairn_garbage_bytes{{{SERIES}}}": "4000000000-1000000x400"}),
    "CairnServerErrors": (
        {f'cairn_s3_requests_total{{{SERIES}, operation="PutObject", status="503"}}': "0+6x400",
         f'cairn_s3_requests_total{{{SERIES}, operation="PutObject", status="200"}}': "0+94x400"},
        {f'cairn_s3_requests_total{{{SERIES}, operation="PutObject", status="503"}}': "0+4x400",
         f'cairn_s3_requests_total{{{SERIES}, operation="PutObject", status="200"}}': "0+96x400"}),
    "CairnRefusedRequests": (
        {f'cairn_s3_requests_total{{{SERIES}, operation="GetObject", status="403"}}': "0+60x400",
         f'cairn_s3_requests_total{{{SERIES}, operation="GetObject", status="404"}}': "0+40x400"},
        {f'cairn_s3_requests_total{{{SERIES}, operation="GetObject", status="403"}}': "0+40x400",
         f'cairn_s3_requests_total{{{SERIES}, operation="GetObject", status="404"}}': "0+60x400"}),
    "CairnSlow": (
        {f'cairn_s3_request_seconds_bucket{{{SERIES}, operation="HeadObject", le="1.0"}}': "0+90x400",
         f'cairn_s3_request_seconds_bucket{{{SERIES}, operation="HeadObject", le="3.0"}}': "0+100x400",
         f'cairn_s3_request_seconds_bucket{{{SERIES}, operation="HeadObject", le="+Inf"}}': "0+100x400"},
        {f'cairn_s3_request_seconds_bucket{{{SERIES}, operation="HeadObject", le="1.0"}}': "0+99x400",
         f'cairn_s3_request_seconds_bucket{{{SERIES}, operation="HeadObject", le="3.0"}}': "0+100x400",
         f'cairn_s3_request_seconds_bucket{{{SERIES}, operation="HeadObject", le="+Inf"}}': "0+100x400"}),
    "CairnCertificateNotReloaded": (
        {f"cairn_tls_reload_errors_total{{{SERIES}}}": "0x370 1x30"}, {f"cairn_tls_reload_errors_total{{{SERIES}}}": "1x400"}),
}


def fires(alert, series, folder):
    """Whether Prometheus fires the alert after 395 minutes of these series."""
    rule = {"groups": [{"name": "cairn", "rules": [rule for group in rules() for rule in group["rules"] if rule["alert"] == alert]}]}
    (pathlib.Path(folder) / "rules.yaml").write_text(yaml.safe_dump(rule))
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    silent = {"eval_time": "395m", "alertname": alert, "exp_alerts": []}
    test = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m",
            "tests": [{"interval": "1m", "input_series": inputs, "alert_rule_test": [silent]}]}
    try:
        promtool(("test", "rules"), "test.yaml", test, folder)
    except RuntimeError as error:
        # Expected none and got one: it fires. Anything else is an error of the test itself.
        assert f'alertname="{alert}"' in str(error), error
        return True
    return False


def test_each_alert_fires_when_it_should_and_only_then():
    assert set(FIRING) == {rule["alert"] for group in rules() for rule in group["rules"]}
    with tempfile.TemporaryDirectory() as folder:
        for alert, (bad, good) in FIRING.items():
            assert fires(alert, bad, folder), f"{alert} does not fire"
            assert not fires(alert, good, folder), f"{alert} fires though all is well"
        assert fires("CairnDown", {}, folder), "nobody is told when no target is left"


def test_each_alert_has_its_runbook():
    alerts = {rule["alert"] for group in rules() for rule in group["rules"]}
    pages = {path.stem for path in RUNBOOKS.glob("Cairn*.md")}
    assert alerts == pages, f"without a page: {alerts - pages}; without an alert: {pages - alerts}"
    for group in rules():
        for rule in group["rules"]:
            assert rule["annotations"]["runbook"] == f"docs/runbooks/{rule['alert']}.md"
            assert rule["annotations"]["summary"] and rule["annotations"]["description"]
            assert rule["labels"]["severity"] in ("critical", "warning")


def test_every_metric_is_registered_in_the_server():
    """By the source; the pod's test compares with the page of a running server."""
    source = (chart.ROOT / "crates/gateway/src/metrics.rs").read_text()
    fields = dict(re.findall(r'registry\.register\("([a-z0-9_]+)", "[^"]*", self\.([a-z_]+)\.clone\(\)', source))
    known = set()
    for name, field in fields.items():
        kind = re.search(rf"\b{field}: ([^\n]*),\n", source)[1]
        if "Histogram" in kind:
            known |= {f"cairn_{name}_{part}" for part in ("bucket", "sum", "count")}
        else:
            known.add(f"cairn_{name}_total" if "Counter" in kind else f"cairn_{name}")
    assert len(known) >= 13, known
    unknown = metric_names() - known - FOREIGN
    assert not unknown, f"no such metric: {unknown}"


def test_the_dashboard_shows_what_the_alerts_look_at():
    unseen = metrics_of(rule_expressions()) - metrics_of(dashboard_expressions()) - FOREIGN
    assert not unseen, f"an alert of these leads to no panel: {unseen}"


def test_the_dashboard_is_whole():
    board = dashboard()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) and board["uid"] and board["title"]
    places = {(x, y) for panel in board["panels"] for at in [panel["gridPos"]]
              for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
    assert len(places) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in board["panels"]), "panels overlap"
    assert max(x for x, _ in places) < 24
    names = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\}?", json.dumps(board["panels"])))
    assert used <= names | {"__rate_interval"}, used - names
