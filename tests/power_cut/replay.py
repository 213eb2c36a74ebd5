"""Makes of a journal of layer.c what a power cut would have left.

    replay.py JOURNAL BASE IMAGE

BASE is the folder as it was when the journal began, all of it durable; IMAGE is made. Only what was synced is in it:
contents by a sync of their file, names by a sync of their folder.
"""

import os
import shutil
import struct
import sys

OPEN, WRITE, TRUNCATE, RENAME, LINK, UNLINK, MKDIR, RMDIR, SYNC, SYNC_DIR, APPEND_SIZE = range(1, 12)
HEAD = struct.Struct("<BQQII")


class File:
    """Durable bytes, and the changes since."""

    def __init__(self, durable=b""):
        self.durable = bytearray(durable)
        self.pending = []

    def sync(self, began):
        kept = []
        for change in self.pending:
            if change[0] < began:
                self.apply(*change[1:])
            else:
                kept.append(change)
        self.pending = kept

    def apply(self, op, offset, data):
        size = len(self.durable)
        if op == WRITE:
            if offset > size:
                self.durable.extend(bytes(offset - size))
            self.durable[offset : offset + len(data)] = data
        elif op == TRUNCATE:
            if offset < size:
                del self.durable[offset:]
            else:
                self.durable.extend(bytes(offset - size))
        elif offset > size:
            self.durable.extend(bytes(offset - size))


class Folder:
    """Names as the program sees them, durable names, and the changes since."""

    def __init__(self):
        self.live = {}
        self.durable = {}
        self.pending = []

    def set(self, at, name, what):
        if what is None:
            self.live.pop(name, None)
        else:
            self.live[name] = what
        self.pending.append((at, name, what))

    def sync(self, began):
        kept = []
        for at, name, what in self.pending:
            if at >= began:
                kept.append((at, name, what))
            elif what is None:
                self.durable.pop(name, None)
            else:
                self.durable[name] = what
        self.pending = kept


def load(path):
    folder = Folder()
    for entry in os.scandir(path):
        if entry.is_dir(follow_symlinks=False):
            folder.live[entry.name] = load(entry.path)
        elif entry.is_file(follow_symlinks=False):
            with open(entry.path, "rb") as file:
                folder.live[entry.name] = File(file.read())
    folder.durable = dict(folder.live)
    return folder


def split(root, path):
    *parents, name = path.split("/")
    folder = root
    for parent in parents:
        folder = folder.live[parent]
    return folder, name


def find(root, path):
    if not path:
        return root
    folder, name = split(root, path)
    return folder.live[name]


def replay(journal, root):
    inodes = {}
    at = 0
    while at + HEAD.size <= len(journal):
        op, ino, offset, first, second = HEAD.unpack_from(journal, at)
        body = at + HEAD.size
        end = body + first + second
        if end > len(journal):
            break  # the process was killed while it wrote this record
        if op == OPEN:
            path = bytes(journal[body:end]).decode()
            folder, name = split(root, path)
            if offset == 1:
                folder.set(at, name, File())
            inodes[ino] = folder.live[name]
        elif op in (WRITE, TRUNCATE, APPEND_SIZE):
            inodes[ino].pending.append((at, op, offset, bytes(journal[body:end])))
        elif op == SYNC:
            if ino in inodes:
                inodes[ino].sync(offset)
        elif op == SYNC_DIR:
            find(root, bytes(journal[body:end]).decode()).sync(offset)
        elif op in (RENAME, LINK):
            old, new = bytes(journal[body : body + first]).decode(), bytes(journal[body + first : end]).decode()
            from_folder, from_name = split(root, old)
            to_folder, to_name = split(root, new)
            what = from_folder.live[from_name]
            to_folder.set(at, to_name, what)
            if op == RENAME and (from_folder, from_name) != (to_folder, to_name):
                from_folder.set(at, from_name, None)
        elif op in (UNLINK, RMDIR):
            folder, name = split(root, bytes(journal[body:end]).decode())
            folder.set(at, name, None)
        elif op == MKDIR:
            folder, name = split(root, bytes(journal[body:end]).decode())
            folder.set(at, name, Folder())
        else:
            sys.exit(f"replay: unknown record {op} at {at}")
        at = end
    return at


def store(folder, path):
    os.mkdir(path, 0o700)
    for name, what in folder.durable.items():
        target = os.path.join(path, name)
        if isinstance(what, Folder):
            store(what, target)
        else:
            # Keys and sockets' neighbours are private files: so is all here.
            with open(os.open(target, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(what.durable)


def main():
    journal_path, base, image = sys.argv[1:]
    root = load(base) if os.path.isdir(base) else Folder()
    with open(journal_path, "rb") as file:
        journal = memoryview(file.read())
    replayed = replay(journal, root)
    if os.path.exists(image):
        shutil.rmtree(image)
    store(root, image)
    print(f"replayed {replayed} bytes of journal")


if __name__ == "__main__":
    main()
