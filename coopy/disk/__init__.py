"""The disk organ: segments, snapshots, the manifest and the lock of a data directory."""
