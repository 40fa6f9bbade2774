"""Bytes between nodes: the Raft server of a node, its configuration, and what goes over its streams.

Knows indexes, names and bytes. What they mean, and what a domain is, is nobody's here.
Loaded when a replicated system is opened, not with the package.
"""
