"""Readiness: an engine is ready when it has answered a real request, on a topic and a path of the probe's own.

Each probe raises when the engine does not answer as it should, and returns a sentence that says what it did.
"""

from __future__ import annotations

import uuid

import requests
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError
from pyhive import presto
from pyhive.exc import Error as PrestoError
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TApplicationException, TException, TMessageType, TType
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport

from lab.kafka_client import for_python
from lab.settings import Settings

PROBE_TOPIC = "lab-probe"
PROBE_FOLDER = "/lab-probe"


class NotReady(Exception):
    """The engine did not answer, or not what was asked."""


FAILURES = (NotReady, KafkaError, requests.RequestException, PrestoError, TException, OSError, ValueError, KeyError)
"""What an engine that is not ready yet may cause. Anything else is a mistake of ours."""


def kafka(settings: Settings) -> str:
    """Write one record to the probe's topic and read it back."""
    where = {**for_python(settings), "request_timeout_ms": 5000, "bootstrap_timeout_ms": 3000}
    admin = KafkaAdminClient(**where)
    try:
        admin.create_topics([NewTopic(PROBE_TOPIC, 1, settings.replication)])
    except TopicAlreadyExistsError:
        pass  # from an earlier probe
    finally:
        admin.close()
    mark = uuid.uuid4().bytes
    producer = KafkaProducer(acks="all", retries=3, max_block_ms=5000, delivery_timeout_ms=6000, **where)
    try:
        written = producer.send(PROBE_TOPIC, mark, partition=0).get(timeout=6)
    finally:
        producer.close(timeout=1)
    consumer = KafkaConsumer(consumer_timeout_ms=5000, **where)
    try:
        partition = TopicPartition(PROBE_TOPIC, 0)
        consumer.assign([partition])
        consumer.seek(partition, written.offset)
        if mark not in (record.value for record in consumer):
            raise NotReady("the record that was written could not be read back")
    finally:
        consumer.close()
    return "a record was written and read back"


def namenode(settings: Settings) -> str:
    """Ask the NameNode for the root folder."""
    status = _webhdfs(settings, "GET", "/", "GETFILESTATUS").json()["FileStatus"]["type"]
    if status != "DIRECTORY":
        raise NotReady(f"/ is a {status}")
    return "the root folder was listed"


def datanode(settings: Settings) -> str:
    """Write a block and read it back."""
    path, text = f"{PROBE_FOLDER}/{uuid.uuid4().hex}", uuid.uuid4().hex
    try:
        _webhdfs(settings, "PUT", path, "CREATE", data=text, overwrite="true")
        if _webhdfs(settings, "GET", path, "OPEN").text != text:
            raise NotReady("the block that was written could not be read back")
    finally:
        _webhdfs(settings, "DELETE", path, "DELETE")
    return "a block was written and read back"


def _webhdfs(
    settings: Settings, method: str, path: str, operation: str, data: str = "", **query: str
) -> requests.Response:
    host = settings.hdfs.partition(":")[0]
    url = f"http://{host}:{settings.namenode_http_port}/webhdfs/v1{path}"
    parameters = {"op": operation, "user.name": settings.user, **query}
    answer = requests.request(method, url, params=parameters, data=data, timeout=5)
    answer.raise_for_status()
    return answer


def metastore(settings: Settings) -> str:
    """List the databases, over the metastore's own Thrift protocol."""
    host, _, port = settings.metastore.partition(":")
    socket = TSocket(host, int(port))
    socket.setTimeout(5000)
    transport = TBufferedTransport(socket)
    protocol = TBinaryProtocol(transport)
    transport.open()
    try:
        # get_all_databases(), the one call that takes nothing and answers a list of strings.
        protocol.writeMessageBegin("get_all_databases", TMessageType.CALL, 1)
        protocol.writeStructBegin("arguments")
        protocol.writeFieldStop()
        protocol.writeStructEnd()
        protocol.writeMessageEnd()
        transport.flush()
        _, kind, _ = protocol.readMessageBegin()
        if kind == TMessageType.EXCEPTION:
            problem = TApplicationException()
            problem.read(protocol)
            raise problem
        protocol.readStructBegin()
        _, field_type, field_id = protocol.readFieldBegin()
        if (field_type, field_id) != (TType.LIST, 0):
            raise NotReady("the metastore answered an error")
        _, size = protocol.readListBegin()
        names = [protocol.readString() for _ in range(size)]
    finally:
        transport.close()
    return f"{len(names)} database{'s' * (len(names) != 1)}: {', '.join(names)}"


def presto_query(settings: Settings) -> str:
    """Run `SELECT 1`, and let Presto ask the metastore for its schemas."""
    host, port = settings.presto_host_port
    session = requests.Session()
    connection = presto.connect(
        host,
        port=port,
        username=settings.user,
        poll_interval=0.01,
        requests_session=session,
        requests_kwargs={"timeout": 10},
    )
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    if cursor.fetchall() != [(1,)]:
        raise NotReady("SELECT 1 did not answer 1")
    cursor.execute("SHOW SCHEMAS FROM hive")
    cursor.fetchall()
    return "SELECT 1 was answered"


def presto_nodes(settings: Settings) -> int:
    """How many nodes Presto's coordinator knows that work, itself among them."""
    host, port = settings.presto_host_port
    connection = presto.connect(
        host, port=port, username=settings.user, poll_interval=0.01, requests_kwargs={"timeout": 10}
    )
    cursor = connection.cursor()
    cursor.execute("SELECT count(*) FROM system.runtime.nodes WHERE state = 'active'")
    ((count,),) = cursor.fetchall()
    return int(count)
