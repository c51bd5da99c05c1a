#!/usr/bin/env python3
"""Writes the seeds of corpus/: small files of every format, from nothing but Python's own library.

    tests/fuzz/make_corpus.py        (in the repository's root; JPEG files are stored, not made)

What fuzzing has found since lies beside them, under names of its own (found-…).
"""
import gzip
import io
import json
import random
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

corpus = Path(__file__).parent / "corpus"


def seed(reader, name, data):
    folder = corpus / reader
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


BYTES = {"type": "ByteLevel", "add_prefix_space": False}
MODEL = {"type": "BPE", "vocab": {c: i for i, c in enumerate("abĠĊ<s>ê")} | {"ab": 8, "Ġab": 9}, "merges": ["a b", ["Ġ", "ab"]]}
ADDED = [{"id": 10, "content": "<s>", "special": True, "lstrip": True}, {"id": 11, "content": "b\n", "single_word": True}]
seed("tokenizer", "plain", json.dumps({"model": MODEL, "pre_tokenizer": BYTES}))
seed("tokenizer", "split", json.dumps({
    "added_tokens": ADDED, "model": MODEL | {"unk_token": "a", "fuse_unk": True, "ignore_merges": True},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, {"type": "Split", "pattern": {"String": "a."}, "behavior": "Isolated"},
        {"type": "Split", "pattern": {"Regex": r" ?\p{L}{1,3}|[^\r\n\s]+|(?i:'s)|\s+(?!\S)"}, "behavior": "Removed", "invert": True},
        BYTES | {"use_regex": False}]}}, ensure_ascii=False))

for job in ("mlp-digits", "resnet20-cifar10-augmented"):
    seed("job", job, Path("jobs", job + ".yaml").read_text())
seed("job", "layers", """--set optimizer.lr=0.1
--set batch.micro=4
name: layers
seed: 3
model:
  input: [3, 16, 16]
  layers:
    - {conv: {channels: 8, kernel: 3, padding: same, bias: false, name: stem}}
    - batch_norm
    - {block: [{conv: {channels: 8, kernel: [3, 3], padding: 1}}, relu, {add: [relu1, input]}], repeat: 2, name: stage}
    - {max_pool: 2}
    - {concat: {from: [max_pool1, max_pool1], axis: 0}}
    - {reshape: [16, -1]}
    - {permute: [1, 0]}
    - flatten
    - {dropout: 0.2}
    - {affine: {features: 10, name: head}}
batch: {global: 16, micro: 8}
loss: softmax_cross_entropy
optimizer: {sgd: {lr: 0.05, momentum: 0.9}}
schedule: {cosine: {warmup_epochs: 1}}
train: {steps: 20}
""")
seed("job", "inputs", """name: two
model: &model
  inputs: {a: [4], b: [4]}
  graph: [{affine: {features: 4, from: a}}, {add: [affine1, b]}, {softmax: {}}]
  output: softmax1
data: {train: {path: x, inputs: {a: a, b: b}, target: y}, shuffle: {window: 64}, augment: [{random_crop: {padding: 2}}]}
batch: {global: 8, reduction: native, bucket_mb: auto}
loss: [{l2: {weight: 1}}]
optimizer: {adam: {lr: 1.0e-3}}
train: {epochs: 2, early_stopping: {patience: 2}}
checkpoint: {every_steps: 10, keep: 2, best: loss}
watchdog: {silent_s: 20}
""")
seed("metrics", "run", "".join(json.dumps(line) + "\n" for line in (
    {"kind": "start", "name": "a", "ranks": 4, "nested": {"x": [1, 2.5e-3, None]}},
    {"kind": "train", "step": 10, "loss": 0.125, "lr": 1e-4, "ok": True, "text": "\u00e9\ud83d\ude00\"\\\n"},
    {"kind": "end", "step": 20, "loss": None})))
seed("metrics", "escapes", r'{"a\u00e9\ud83d\ude00\/\b": -0.0e+5, "b": [[], {}, [1,{"x":[true]}]]}')
seed("confusion", "two", '{"kind": "confusion", "step": 7, "classes": ["cat","dog"], "matrix": [[5,1],\n[2,8]]}\n')
seed("csv", "numbers", b"\0\0\1\0" + b"a,b,label\n1,2.5,0\n-3e-2, 4 ,1\n\n5,6,2\n")
seed("csv", "quoted", b"\1\0\1\0" + b'\xef\xbb\xbf"x;y";z\r\n"1";"say ""no"""\r\n2;b\r\n')
seed("text", "words", b"\1" + "To be, or\r\n don't \u2014 na\u00efve\u00a0\u3002 \u518d\u4f1a\U0001d11e <unk>\n".encode() + b"\xff\xc3")
seed("text", "characters", b"\0" + "a\u00fc\u20ac\U0001d11e\r\n".encode() + b"\xed\xa0\x80\0z")
# Rows and their lengths, whether an offset and the end are wrong, a stream beside, words of a vocabulary (tests/fuzz/dataset_readers.cpp).
seed("tokens", "right", bytes((3, 2, 10, 11, 0, 1, 12, 1, 1, 1, 3, 2, 97, 98, 1, 99, 0, 1)) + bytes((1,)))
seed("tokens", "offset", bytes((3, 2, 10, 11, 3, 12, 13, 14, 1, 15, 0, 2, 1, 1, 1, 0, 1)))
seed("tokens", "two-shards", bytes((1, 1, 1, 10, 1, 1, 0, 0, 0, 0, 1, 1, 1, 10, 1, 1, 0, 0, 0)))
for type_code, width, name in ((8, 1, "bytes"), (13, 4, "floats"), (11, 2, "shorts")):
    seed("idx", name, struct.pack(">BBBBIII", 0, 0, type_code, 3, 2, 2, 3) + bytes(range(12 * width)))
seed("idx", "labels", struct.pack(">BBBBI", 0, 0, 8, 1, 5) + bytes(5))


def safetensors(entries):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, dtype, shape, content in entries:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


seed("safetensors", "types", safetensors([("a.weight", "F32", [2, 2], bytes(16)), ("b", "F16", [3], bytes(6)),
                                          ("c", "BF16", [], bytes(2)), ("d", "I64", [1], bytes(8)),
                                          ("e", "U8", [0, 4], b""), ("f", "BOOL", [2], bytes(2))]))


def png(width, height, color, depth, rows, palette=b"", interlace=0):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    plte = chunk(b"PLTE", palette) if palette else b""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace))
            + plte + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b""))


seed("image", "png-rgb", b"\1" + png(3, 2, 2, 8, (b"\0" + bytes(range(9))) * 2))
seed("image", "png-palette", b"\0" + png(5, 2, 3, 2, b"\0\x1b\x80" * 2, bytes(12)))
seed("image", "png-grey16-interlaced", b"\0" + png(1, 1, 4, 16, b"\0\1\2\3\4", interlace=1))
def npy(descr, shape, elements, fortran=False):
    header = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    header = header.ljust((len(header) + 74) // 64 * 64 - 11) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + elements
for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for entry, data in (("x.npy", npy("<f2", (2, 3), bytes(12), True)), ("y.npy", npy(">i4", (2,), bytes(8)))):
            info = zipfile.ZipInfo(entry, (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            with archive.open(info, "w", force_zip64=True) as out:
                out.write(data)
    seed("npz", name, file.getvalue())
for name, kind in (("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
        for entry in ("a.cls", "/".join(["folder"] * 20) + "/b.png"):
            info = tarfile.TarInfo(entry)
            info.size = 5
            archive.addfile(info, io.BytesIO(b"12345"))
    seed("tar", name, file.getvalue()[:6144])
seed("gzip", "text", gzip.compress(b"1,2,3\n" * 40, mtime=0))
seed("gzip", "members", gzip.compress(b"a", mtime=0) + gzip.compress(b"", mtime=0))
# `evaluate` on a stranger's checkpoint: a flag and 0 to 250 bytes of shape, class names, numbers, tensors, the job
tiny = b"""name: tiny
model: {layers: [flatten, {affine: 3}]}
batch: 4
loss: softmax_cross_entropy
optimizer: adam
train: {epochs: 1}
"""
def evaluated(shape, tensors, job=tiny):
    return bytes([1, 1, len(shape)]) + shape + bytes([0]) + bytes([1, 1, 0] * 4) + tensors + job
seed("evaluated", "long-shape", evaluated(b",".join([b"2"] * 120), bytes([0, 0, 0])))
seed("evaluated", "mean-of-two-rows", evaluated(b"1,8,8", bytes([1, 2, 8, 1, 1, 1, 2, 8, 1, 1, 0])))
seed("evaluated", "mean-of-float64", evaluated(b"1,8,8", bytes([1, 1, 1, 0, 1, 1, 1, 0, 0])))
seed("evaluated", "no-number", evaluated(b"1,x,8", bytes([0, 0, 0])))
seed("evaluated", "many-threads", evaluated(b"3", bytes([0, 0, 1, 2, 3, 3, 1]),
                                            tiny + b"threads: 4000\ndata: {train: x, threads: 200, prefetch: 9999}\n"))
event = b"\x09" + struct.pack("<d", 1.5)
seed("events", "framed", b"\1\5" + b"".join(bytes([len(e)]) + e for e in (
    event + b"\x1a\x0dbrain.Event:2", event + b"\x10\x04", event + b"\x10\xff\xff\x01")))
seed("events", "raw", b"\0\5" + struct.pack("<QI", 10, 0) + bytes(14))
# Decisions: any bytes are some file.
rng = random.Random(7)
for reader, n_bytes in (("chunks", 200), ("dataset", 500), ("checkpoint", 60), ("checkpoint_meaning", 300)):
    seed(reader, "plain", bytes(n_bytes))
    for i in range(6):
        seed(reader, f"decisions-{i}", bytes(rng.randrange(256) if rng.random() < 0.7 else 0 for _ in range(n_bytes)))
