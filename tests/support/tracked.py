"""Read what trackers wrote: TensorBoard's event files, and the records of wandb's offline runs."""

import json
import struct

BLOCK = 2**15
WHOLE, LAST = 1, 4


def events(folder):
    """Return the events of a TensorBoard folder; a file is records of length, crc, bytes, crc."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.out.tfevents*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack_from("<Q", data)
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def scalars(folder):
    """Return the scalars of a TensorBoard folder: by name, a list of (step, value)."""
    found = {}
    for event in events(folder):
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def hyper_parameters(folder):
    """Return the values that the tab HParams has for a TensorBoard folder."""
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    (content,) = [
        value.metadata.plugin_data.content
        for event in events(folder)
        for value in event.summary.value
        if value.tag == "_hparams_/session_start_info"
    ]
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(own, own.WhichOneof("kind")) for name, own in values.items()}


def wandb_records(path):
    """Return the records of a run-....wandb file, a log as LevelDB writes it, in its order."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, record, found = path.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (WHOLE, LAST):
            found.append(Record.FromString(record))
            record = b""
    return found


def of_kind(records, kind):
    """Return the records of one kind, such as "history"."""
    return [getattr(r, kind) for r in records if r.WhichOneof("record_type") == kind]


def values(items):
    """Return the items of a history, a summary or a config as a mapping."""
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
