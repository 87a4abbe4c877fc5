"""The protocol of Redis as far as a proxy needs it: where a value ends, and the words of a command."""

_LINES = b"+-:_#,("
_BULKS = b"$=!"
_ELEMENTS = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}
_ATTRIBUTE = ord("|")


def end_of(buffer: bytes, start: int) -> int | None:
    """Return where the value that begins here ends, or None while it is not all there."""
    line_end = buffer.find(b"\r\n", start)
    if line_end < 0:
        return None
    kind, rest, position = buffer[start], buffer[start + 1 : line_end], line_end + 2
    if kind in _LINES:
        return position
    length = int(rest)
    if kind in _BULKS:
        end = position + length + 2 if length >= 0 else position
        return end if end <= len(buffer) else None
    # An attribute stands before the value that it belongs to.
    for _ in range(length * _ELEMENTS[kind] + (kind == _ATTRIBUTE)):
        after = end_of(buffer, position)
        if after is None:
            return None
        position = after
    return position


def arguments(frame: bytes) -> tuple[bytes, ...]:
    """Return the words of a command."""
    if not frame.startswith(b"*"):
        raise ValueError("expected commands as arrays of bulk strings, got an inline command")
    count, _, rest = frame.partition(b"\r\n")
    args = []
    for _ in range(int(count[1:])):
        length, _, rest = rest.partition(b"\r\n")
        size = int(length[1:])
        args.append(rest[:size])
        rest = rest[size + 2 :]
    return tuple(args)
