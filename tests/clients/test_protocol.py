"""The messages' numbers: those that the server tells by reflection are those that the official client was made with."""

import grpc
import pytest
import tritonclient.grpc.model_config_pb2
import tritonclient.grpc.service_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto

from server import Server

OFFICIAL = {
    "grpc_service.proto": tritonclient.grpc.service_pb2.DESCRIPTOR,
    "model_config.proto": tritonclient.grpc.model_config_pb2.DESCRIPTOR,
}


def told(server: Server, file: str) -> FileDescriptorProto:
    """One file as the server describes it."""
    # The two messages of grpc.reflection.v1 are read by their numbers: the client's packages don't have them.
    asked = bytes([3 << 3 | 2, len(file)]) + file.encode()
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        [answer] = call(iter([asked]), timeout=10)
    for whole in of_number(answer, 4):
        for encoded in of_number(whole, 1):
            found = FileDescriptorProto.FromString(encoded)
            if found.name == file:
                return found
    raise AssertionError(f"the server doesn't tell {file}: {answer!r}")


def of_number(message: bytes, number: int) -> list[bytes]:
    """Those of a message's fields that are bytes and have this number."""
    found, at = [], 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        length = varint()
        if key & 7 == 2:
            if key >> 3 == number:
                found.append(message[at : at + length])
            at += length
    return found


def fields(prefix: str, message: DescriptorProto) -> dict[str, tuple]:
    """Of a message and of those in it: each field's number and what it holds, by path."""
    rows = {}
    for field in message.field:
        choice = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
        kind = FieldDescriptorProto.Type.Name(field.type)
        rows[f"{prefix}.{field.name}"] = (field.number, kind, field.type_name, field.label, choice)
    for inner in message.nested_type:
        rows |= fields(f"{prefix}.{inner.name}", inner)
    for inner in message.enum_type:
        rows |= values(f"{prefix}.{inner.name}", inner)
    return rows


def values(prefix: str, enum: EnumDescriptorProto) -> dict[str, tuple]:
    return {f"{prefix}.{value.name}": (value.number,) for value in enum.value}


def everything(file: FileDescriptorProto) -> dict[str, tuple]:
    rows = {}
    for message in file.message_type:
        rows |= fields(message.name, message)
    for enum in file.enum_type:
        rows |= values(enum.name, enum)
    for service in file.service:
        for call in service.method:
            streams = (call.client_streaming, call.server_streaming)
            rows[f"{service.name}.{call.name}"] = (call.input_type, call.output_type, *streams)
    return rows


@pytest.mark.parametrize("file", OFFICIAL)
def test_every_number_is_the_official_one(server: Server, file: str) -> None:
    official = FileDescriptorProto()
    OFFICIAL[file].CopyToProto(official)
    ours = told(server, file)
    assert ours.package == official.package
    found, expected = everything(ours), everything(official)
    wrong = {name: (row, expected.get(name)) for name, row in found.items() if expected.get(name) != row}
    missing = sorted(set(expected) - set(found))
    assert not wrong and not missing, f"ours, and what it should be: {wrong}; missing: {missing}"
    assert len(found) > 100
