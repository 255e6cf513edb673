"""kafka.py BROKERS SCHEMAS T: cost by repository since T."""
import datetime, io, pathlib, sys
import fastavro, pandas
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

TOPIC = "flightlog.g1.enriched"  # one generation: never add two


def main(brokers, schemas, since):
    begin = since - datetime.timedelta(hours=24)  # the clocks of hosts differ
    records = {path.stem: fastavro.schema.load_schema(path) for path in pathlib.Path(schemas).glob("Enriched/*.avsc")}
    reader = Consumer({"bootstrap.servers": brokers, "group.id": "cost-by-repository", "enable.auto.commit": False,
                       "isolation.level": "read_committed", "auto.offset.reset": "error", "enable.partition.eof": True})
    partitions = reader.list_topics(TOPIC, timeout=30).topics[TOPIC].partitions
    times = [TopicPartition(TOPIC, p, max(0, int(begin.timestamp() * 1000))) for p in partitions]
    places = reader.offsets_for_times(times, timeout=30)
    for place in places:
        low, high = reader.get_watermark_offsets(place, timeout=30)
        place.offset = high if place.offset < 0 else place.offset
        if place.offset == low > 0:
            raise RuntimeError(f"position lost: {place} may have held rows since {begin} that have aged out")
    reader.assign(places)
    rows, commits, ended = {}, {}, set()
    while len(ended) < len(places):  # what it holds as of now
        message = reader.poll(30)
        if message is None:
            raise TimeoutError(f"{TOPIC} does not come to its end")
        if message.error() and message.error().code() != KafkaError._PARTITION_EOF:
            raise KafkaException(message.error())
        if message.error():
            ended.add(message.partition())
            continue
        headers, value = dict(message.headers()), message.value()
        if value[0] == 0:  # Confluent's format: 00, the registry's id of the schema, the record
            fingerprint, record = headers["flightlog-schema"].decode(), value[5:]
        else:  # C3 01, the schema's fingerprint, the record
            fingerprint, record = value[2:10][::-1].hex(), value[10:]
        row = fastavro.schemaless_reader(io.BytesIO(record), records[fingerprint])
        source = message.partition(), headers["flightlog-processor"], headers["flightlog-source-partition"]
        commit, previous = int(headers["flightlog-commit"]), int(headers["flightlog-previous-commit"])
        if commits.get(source, commit) not in (commit, previous):
            raise RuntimeError(f"position lost: {source} goes on after {previous}, not {commits[source]}")
        commits[source] = commit
        rows[row["row_id"]] = row  # each once
    reader.close()
    table = pandas.DataFrame(rows.values(), columns=["sign", "occurred_at", "repo", "cost_nano_usd"], dtype=object)
    table = table[table.occurred_at >= since].convert_dtypes()
    cost = (table.sign * table.cost_nano_usd).groupby(table.repo).sum().to_frame("cost_nano_usd")  # exact: whole numbers
    cost.assign(cost_usd=cost.cost_nano_usd / 1e9).to_csv(sys.stdout)


main(sys.argv[1], sys.argv[2], datetime.datetime.fromisoformat(sys.argv[3]))
