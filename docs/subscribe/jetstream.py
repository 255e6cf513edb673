"""jetstream.py NATS_URL SCHEMAS T: cost by repository since T; a token in NATS_TOKEN."""
import asyncio, datetime, io, os, pathlib, sys
import fastavro, nats, pandas
from nats.js.api import ConsumerConfig, DeliverPolicy

STREAM, SUBJECTS = "flightlog-g1-enriched", "flightlog.g1.enriched.>"  # one generation: never add two


async def main(url, schemas, since):
    begin = since - datetime.timedelta(hours=24)  # the clocks of hosts differ
    frames = {path.stem: fastavro.schema.load_schema(path) for path in pathlib.Path(schemas).glob("EnrichedFrame/*.avsc")}
    client = await nats.connect(url, token=os.environ.get("NATS_TOKEN"))
    js = client.jetstream()
    state = (await js.stream_info(STREAM)).state
    if state.first_seq > 1 and (state.messages == 0 or (await js.get_msg(STREAM, state.first_seq)).time >= begin):
        raise RuntimeError(f"position lost: {STREAM} may have held rows since {begin} that have aged out")
    reader = await js.subscribe(SUBJECTS, stream=STREAM, ordered_consumer=True, config=ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=begin))
    info = await reader.consumer_info()
    rows, commits = {}, {}
    for _ in range(info.delivered.consumer_seq + info.num_pending):  # what it holds as of now
        message = await reader.next_msg(timeout=30)
        fingerprint = message.data[2:10][::-1].hex()  # C3 01, the schema's fingerprint, the record
        frame = fastavro.schemaless_reader(io.BytesIO(message.data[10:]), frames[fingerprint])
        header, last = frame["header"], commits.get(message.subject)
        if last is not None and header["previous_commit"] != last:
            raise RuntimeError(f"position lost: {message.subject} goes on after {header['previous_commit']}, not {last}")
        commits[message.subject] = header["last_commit"]
        rows.update((row["row_id"], row) for row in frame["rows"])  # each once
    await client.close()
    table = pandas.DataFrame(rows.values(), columns=["sign", "occurred_at", "repo", "cost_nano_usd"], dtype=object)
    table = table[table.occurred_at >= since].convert_dtypes()
    cost = (table.sign * table.cost_nano_usd).groupby(table.repo).sum().to_frame("cost_nano_usd")  # exact: whole numbers
    cost.assign(cost_usd=cost.cost_nano_usd / 1e9).to_csv(sys.stdout)


asyncio.run(main(sys.argv[1], sys.argv[2], datetime.datetime.fromisoformat(sys.argv[3])))
