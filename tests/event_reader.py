"""Reads TensorBoard's event files, without TensorBoard."""

from pathlib import Path


def read(folder: Path) -> dict[str, dict[int, list[float]]]:
    """All scalars below a folder as {name: {step: [values]}}."""
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

    found: dict = {}
    for file in folder.glob("events.*"):
        content, place = file.read_bytes(), 0
        while place < len(content):
            # length (8 bytes), its checksum (4), the event, its checksum (4)
            length = int.from_bytes(content[place : place + 8], "little")
            event = Event.FromString(content[place + 12 : place + 12 + length])
            place += 16 + length
            for value in event.summary.value:
                found.setdefault(value.tag, {}).setdefault(event.step, []).append(value.simple_value)
    return found
