"""The cluster's plan: each node has its own ports and home, and knows of the others what it must."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from lab.engines import cluster, stack
from lab.errors import LabError
from lab.settings import Settings


def test_every_node_has_a_home_and_ports_of_its_own(tmp_path: Path) -> None:
    nodes = cluster.nodes(tmp_path, tmp_path / "cache")
    assert [node.name for node in nodes] == cluster.names()
    assert len({node.settings.home for node in nodes}) == len(nodes)
    used = Counter(port for ports in cluster.addresses(tmp_path).values() for port in ports)
    assert set(used.values()) == {1}
    assert cluster.nodes(tmp_path, tmp_path / "cache") == nodes, "ports are remembered"


def test_the_brokers_know_one_another_and_the_copies_are_as_many(tmp_path: Path) -> None:
    for number, node in enumerate(cluster.nodes(tmp_path, tmp_path / "cache")[:3], start=1):
        stack.configure(node.settings, node.values)
        text = (node.settings.conf / "kafka" / "server.properties").read_text()
        assert f"node.id={number}\n" in text
        assert text.count("@127.0.0.1:") == 3
        assert "offsets.topic.replication.factor=3" in text


def test_a_lab_that_uses_it_has_nothing_to_start(tmp_path: Path) -> None:
    lab = Settings.from_env({**cluster.use(tmp_path), "LAB_HOME": str(tmp_path / "lab")})
    assert stack.local_engines(lab) == []
    assert lab.kafka.count(",") == 2
    stack.configure(lab)
    defaults = (lab.conf / "spark" / "spark-defaults.conf").read_text()
    assert f"spark.master                         {lab.spark_master}" in defaults
    assert "spark.jars " in defaults
    site = (lab.conf / "hadoop" / "hdfs-site.xml").read_text()
    assert "<name>dfs.replication</name><value>2</value>" in site


def test_too_little_memory_is_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "LEAST_MEMORY", 10**15)
    with pytest.raises(LabError, match="the cluster needs"):
        cluster.start(tmp_path, tmp_path / "cache", lambda what, seconds: None)
    assert not (tmp_path / "run").exists()
