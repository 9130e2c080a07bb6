#!/usr/bin/env python3
"""Derive src/protocol/layout/table.rs from the message schemas inside Apache Kafka's kafka-clients jar.

Usage: scripts/derive-layouts.py kafka-clients-4.3.1.jar > src/protocol/layout/table.rs

The jar comes from Maven Central:
    mvn dependency:copy -Dartifact=org.apache.kafka:kafka-clients:4.3.1 -DoutputDirectory=/tmp

Only facts are taken: names, types, version ranges, where null is allowed, tags. An attribute this script does not
understand stops it, because a silently ignored one would make the frame guard read frames wrongly.
"""
import json
import os
import re
import sys
import zipfile

SCALARS = {
    "bool": "Bool", "int8": "Int8", "int16": "Int16", "uint16": "Uint16", "int32": "Int32", "uint32": "Uint32",
    "int64": "Int64", "float64": "Float64", "uuid": "Uuid", "string": "String", "bytes": "Bytes", "records": "Records",
}
NULLABLE_SCALARS = {"string", "bytes", "records"}
# Attributes that say nothing about the bytes (documentation, defaults, how Kafka's own classes are generated).
INERT = {"about", "default", "ignorable", "mapKey", "entityType", "zeroCopy"}
KNOWN = {"name", "type", "versions", "nullableVersions", "taggedVersions", "tag", "flexibleVersions", "fields"} | INERT


def versions(text):
    """'3-5', '3+', '3' or 'none' as an inclusive pair; None when it is empty."""
    if text is None or text == "none":
        return None
    match = re.fullmatch(r"(\d+)(?:-(\d+)|(\+))?", text)
    if not match:
        sys.exit(f"version range not understood: {text!r}")
    low, high, open_ended = match.groups()
    return int(low), ("MAX" if open_ended else int(high or low))


def pair(span):
    return f"({span[0]}, {span[1]})"


def constant(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).upper()


class Message:
    """One schema file; collects a Rust constant per entity struct, innermost first."""

    def __init__(self, schema, used):
        self.schema = schema
        self.prefix = constant(schema["name"].removesuffix("Request"))
        self.common = {s["name"]: s["fields"] for s in schema.get("commonStructs", [])}
        self.used = used
        self.done = {}
        self.out = []

    def struct(self, name, fields):
        if name in self.done:
            if self.done[name] is None:
                sys.exit(f"{self.schema['name']}: {name} contains itself")
            return self.done[name]
        self.done[name] = None
        rust = self.prefix + "_" + constant(name)
        if rust in self.used:
            sys.exit(f"two structs would be called {rust}")
        self.used.add(rust)
        lines = self.fields(fields)
        self.out += [f"const {rust}: &[Field] = &[", *lines, "];"]
        self.done[name] = rust
        return rust

    def type(self, kind, field):
        if kind.startswith("[]"):
            return f"Array(&{self.type(kind[2:], field)})"
        if kind in SCALARS:
            return SCALARS[kind]
        fields = field.get("fields") or self.common.get(kind)
        if fields is None:
            sys.exit(f"{self.schema['name']}: type {kind!r} is not known")
        return f"Struct({self.struct(kind, fields)})"

    def fields(self, fields):
        return [line for line in map(self.field, fields) if line]

    def field(self, field):
        unknown = set(field) - KNOWN
        if unknown:
            sys.exit(f"{self.schema['name']}.{field['name']}: attributes not understood: {sorted(unknown)}")
        present = versions(field["versions"])
        tagged = versions(field.get("taggedVersions"))
        nullable = versions(field.get("nullableVersions"))
        kind = field["type"]
        if present is None:
            return None
        if nullable and kind in SCALARS and kind not in NULLABLE_SCALARS:
            sys.exit(f"{self.schema['name']}.{field['name']}: a nullable {kind} has no encoding")
        if nullable and tagged and kind not in NULLABLE_SCALARS and not kind.startswith("[]"):
            sys.exit(f"{self.schema['name']}.{field['name']}: a nullable struct with a tag is not understood")
        line = f"    f({json.dumps(field['name'])}, {self.type(kind, field)}, {pair(present)})"
        if nullable:
            line += f".null{pair(nullable)}"
        if tagged:
            line += f".tag({field['tag']}, {tagged[0]}, {tagged[1]})"
        flexible = field.get("flexibleVersions")
        if flexible == "none":
            line += ".never_compact()"
        elif flexible is not None:
            sys.exit(f"{self.schema['name']}.{field['name']}: flexibleVersions {flexible!r} is not understood")
        return line + ","

    def flexible_from(self):
        span = versions(self.schema["flexibleVersions"])
        if span is None:
            return "MAX"
        if span[1] != "MAX":
            sys.exit(f"{self.schema['name']}: flexible versions end at {span[1]}")
        return span[0]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    jar = sys.argv[1]
    schemas = []
    with zipfile.ZipFile(jar) as archive:
        for entry in archive.namelist():
            if re.fullmatch(r"common/message/(\w+Request|RequestHeader)\.json", entry):
                text = archive.read(entry).decode()
                schemas.append(json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.M)))
    headers = [s for s in schemas if s["type"] == "header"]
    # An API whose versions were all removed (ControlledShutdown and the other ZooKeeper-era ones) is unknown to us.
    requests = [s for s in schemas if s["type"] == "request" and versions(s["validVersions"])]
    requests.sort(key=lambda s: s["apiKey"])
    if len(headers) != 1 or not requests:
        sys.exit(f"{jar} does not hold the request schemas")

    used, structs, table = set(), [], []
    for schema in requests:
        message = Message(schema, used)
        body = message.fields(schema["fields"])
        structs += message.out
        name = schema["name"].removesuffix("Request")
        head = (f"    ApiLayout {{ key: {schema['apiKey']}, name: {json.dumps(name)}, "
                f"valid: {pair(versions(schema['validVersions']))}, flexible_from: {message.flexible_from()}, fields: &[")
        table += [head, *("    " + line for line in body), "    ] },"]
    header = Message(headers[0], used)
    header_fields = header.fields(headers[0]["fields"])

    print(f"""\
//! Facts about every Kafka request: field names, types and the versions they exist in.
//!
//! Generated by `scripts/derive-layouts.py` from the message schemas in `{os.path.basename(jar)}`. Do not edit:
//! run the script with the jar of a newer Kafka and review the difference.

use super::FieldType::*;
use super::{{ApiLayout, Field, HeaderLayout, field as f}};

/// The upper end of a range the schema leaves open.
const MAX: i16 = i16::MAX;
""")
    print("\n".join(structs))
    print(f"""
/// The request header (`RequestHeader`). Version 2 adds the tagged section and goes with flexible API versions.
pub static REQUEST_HEADER: HeaderLayout = HeaderLayout {{ valid: {pair(versions(headers[0]['validVersions']))}, \
flexible_from: {header.flexible_from()}, fields: &[""")
    print("\n".join(header_fields))
    print("""] };

/// Every request Kafka accepts, in ascending order of key.
pub static APIS: &[ApiLayout] = &[""")
    print("\n".join(table))
    print("];")


main()
