"""The scalars in a folder of TensorBoard's event files."""

from pathlib import Path


def scalars(folder: Path) -> dict[str, tuple[int, float]]:
    """tag -> (step, value), of every file; a tag that comes twice is an error."""
    from tensorboardX.event_file_writer import EventFileWriter  # noqa: F401  (the extra is part of [dev])
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for file in folder.iterdir():
        data = file.read_bytes()
        while data:  # TFRecord: length 8, crc 4, the event, crc 4
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            for value in event.summary.value:
                assert value.tag not in found, value.tag
                found[value.tag] = (event.step, value.simple_value)
            data = data[16 + size :]
    return found
