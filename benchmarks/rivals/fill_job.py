"""Fills a topic with events as the API makes them, evenly over its partitions: 40 swords, 20 shields, 30 joins and 10
visits of 100.

    spark-submit benchmarks/rivals/fill_job.py EVENTS
"""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lab.pipeline.events import SCHEMA_VERSION
from lab.settings import Settings


def run(settings: Settings, events: int) -> None:
    spark = SparkSession.builder.appName("fill").getOrCreate()
    number, kind = F.col("id"), F.col("id") % 10
    time_of = F.timestamp_micros(F.unix_micros(F.current_timestamp()) - events * 100 + number * 100)
    digits = F.concat(F.lpad(F.hex(F.unix_millis(time_of)), 12, "0"), F.md5(number.cast("string")))
    event_id = F.concat_ws(
        "-", *[F.lower(F.substring(digits, a, n)) for a, n in ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))]
    )
    item = {"type": F.when(kind < 4, "katana").otherwise("buckler"), "cost": F.when(kind < 4, 10).otherwise(6)}
    guild = {
        "guild_name": F.lit("grubs"),
        "guild_member_cnt": (number % 50).cast("int"),
        "tot_guild_member_cnt": (number % 90).cast("int"),
        "guild_seq": number,
    }
    event_type = F.when(kind < 4, "purchase_sword").when(kind < 6, "purchase_shield").when(kind < 9, "join_guild")
    columns = [
        event_type.otherwise("default").alias("event_type"),
        F.lit(SCHEMA_VERSION).alias("schema_version"),
        F.concat(F.lit("user"), number % 997, F.lit(".comcast.com")).alias("Host"),
        F.lit("ApacheBench/2.3").alias("User-Agent"),
        F.lit("*/*").alias("Accept"),
        event_id.alias("event_id"),
        F.date_format(time_of, "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'").alias("event_time"),
        *[F.when(kind < 6, value).alias(name) for name, value in item.items()],
        *[F.when((kind >= 6) & (kind < 9), value).alias(name) for name, value in guild.items()],
    ]
    # One task: in the order of their times, as they come in life.
    rows = spark.range(0, events, 1, 1).select(
        F.to_json(F.struct(*columns)).alias("value"), (number % settings.partitions).cast("int").alias("partition")
    )
    writer = rows.write.format("kafka").option("kafka.bootstrap.servers", settings.kafka)
    writer.option("topic", settings.topic).option("kafka.linger.ms", 20).option("kafka.batch.size", 2**18).save()


if __name__ == "__main__":
    run(Settings.from_env(), int(sys.argv[1]))
