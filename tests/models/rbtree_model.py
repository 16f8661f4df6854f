"""A red-black tree as the textbook has it (Cormen et al., chapter 13), to compare shapes with (kernel: lib/rbtree.c).

Nodes have the sentinel NIL for a child or parent that is not there. Keys are unique numbers.
"""

from __future__ import annotations


class Node:
    """A node, red when it is new."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.red = True
        self.sides: list[Node] = []
        self.parent: Node = self


class RedBlackTree:
    """Keys in a tree; `shape` is comparable."""

    def __init__(self) -> None:
        self.nil = Node(-1)
        self.nil.red = False
        self.nil.sides = [self.nil, self.nil]
        self.root = self.nil

    def rotate(self, x: Node, side: int) -> None:
        """Let x go down to `side` (0: left)."""
        y = x.sides[1 - side]
        x.sides[1 - side] = y.sides[side]
        if y.sides[side] is not self.nil:
            y.sides[side].parent = x
        self.transplant(x, y)
        y.sides[side] = x
        x.parent = y

    def transplant(self, old: Node, new: Node) -> None:
        """Put new in old's place."""
        if old.parent is self.nil:
            self.root = new
        else:
            old.parent.sides[int(old is old.parent.sides[1])] = new
        new.parent = old.parent

    def insert(self, key: int) -> None:
        """Insert a key (RB-INSERT)."""
        z, y, x = Node(key), self.nil, self.root
        while x is not self.nil:
            y, x = x, x.sides[int(key > x.key)]
        z.parent, z.sides = y, [self.nil, self.nil]
        if y is self.nil:
            self.root = z
        else:
            y.sides[int(key > y.key)] = z
        while z.parent.red:
            above = z.parent.parent
            side = int(z.parent is above.sides[1])
            uncle = above.sides[1 - side]
            if uncle.red:
                z.parent.red = uncle.red = False
                above.red = True
                z = above
                continue
            if z is z.parent.sides[1 - side]:
                z = z.parent
                self.rotate(z, side)
            z.parent.red = False
            z.parent.parent.red = True
            self.rotate(z.parent.parent, 1 - side)
        self.root.red = False

    def delete(self, key: int) -> None:
        """Delete a key that is there (RB-DELETE)."""
        z = self.root
        while z.key != key:
            z = z.sides[int(key > z.key)]
        was_red = z.red
        if self.nil in z.sides:
            x = z.sides[int(z.sides[0] is self.nil)]
            self.transplant(z, x)
        else:
            y = z.sides[1]
            while y.sides[0] is not self.nil:
                y = y.sides[0]
            was_red, x = y.red, y.sides[1]
            if y.parent is z:
                x.parent = y
            else:
                self.transplant(y, x)
                y.sides[1] = z.sides[1]
                y.sides[1].parent = y
            self.transplant(z, y)
            y.sides[0] = z.sides[0]
            y.sides[0].parent = y
            y.red = z.red
        if not was_red:
            self.fix_deletion(x)

    def fix_deletion(self, x: Node) -> None:
        """One black too few on the way to x (RB-DELETE-FIXUP)."""
        while x is not self.root and not x.red:
            side = int(x is x.parent.sides[1])
            w = x.parent.sides[1 - side]
            if w.red:
                w.red, x.parent.red = False, True
                self.rotate(x.parent, side)
                w = x.parent.sides[1 - side]
            if not w.sides[0].red and not w.sides[1].red:
                w.red = True
                x = x.parent
                continue
            if not w.sides[1 - side].red:
                w.sides[side].red, w.red = False, True
                self.rotate(w, 1 - side)
                w = x.parent.sides[1 - side]
            w.red, x.parent.red = x.parent.red, False
            w.sides[1 - side].red = False
            self.rotate(x.parent, side)
            x = self.root
        x.red = False

    def shape(self) -> list[tuple[int, bool, int, int]]:
        """Every node in the order of keys: key, red, the children's keys or -1."""
        found: list[tuple[int, bool, int, int]] = []
        self._walk(self.root, found)
        return found

    def _walk(self, node: Node, found: list[tuple[int, bool, int, int]]) -> None:
        if node is not self.nil:
            self._walk(node.sides[0], found)
            found.append((node.key, node.red, node.sides[0].key, node.sides[1].key))
            self._walk(node.sides[1], found)
