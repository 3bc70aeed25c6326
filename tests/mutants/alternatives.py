"""Puts all mutants of a file into it, each behind `on(N)`, so that one build has them all."""

import re

import tree_sitter
import tree_sitter_rust

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_rust.language()))

def marked(number, text):
    """The text of a mutant, with comments by which `owner` finds the mutant of a compiler error."""
    return b"/*<%d*/ %s /*%d>*/" % (number, text, number)


def on(number):
    return b"crate::mutants::on(%d)" % number


def above(node, *kinds):
    """The innermost node of these kinds that contains the node, or the node itself."""
    while node is not None and node.type not in kinds:
        node = node.parent
    return node


def is_let(node):
    return node is not None and node.type in ("let_condition", "let_chain")


class File:
    """One file and its mutants. `skipped` are those that have no place in an expression."""

    def __init__(self, source, mutants):
        self.source, self.skipped = source, []
        self.lines = [0]
        for line in source.split(b"\n"):
            self.lines.append(self.lines[-1] + len(line) + 1)
        self.tree = PARSER.parse(source)
        # The mutants that replace a node, and the text that a body begins with, at the offset after its brace.
        self.nodes, self.bodies = {}, {}
        for mutant in mutants:
            if not self.place(mutant):
                self.skipped.append(mutant["number"])

    def offset(self, position):
        begin = self.lines[position["line"] - 1]
        line = self.source[begin : self.lines[position["line"]]].decode()
        return begin + len(line[: position["column"] - 1].encode())

    def place(self, mutant):
        number, genre = mutant["number"], mutant["genre"]
        begin, end = (self.offset(mutant["span"][at]) for at in ("start", "end"))
        node = self.tree.root_node.descendant_for_byte_range(begin, end)
        new = mutant["replacement"].encode()
        if genre == "FnValue":
            # A function with an opaque type has only one.
            function = above(node, "function_item")
            if function is None or "impl " in (mutant["function"]["return_type"] or ""):
                return False
            body = function.child_by_field_name("body").start_byte + 1
            text = marked(number, b"if %s { return %s; }" % (on(number), new))
            self.bodies[body] = self.bodies.get(body, b" ") + text
            return True
        if genre == "BinaryOperator":
            node = above(node, "binary_expression", "compound_assignment_expr")
            operator = node and node.child_by_field_name("operator")
            if not operator or (operator.start_byte, operator.end_byte) != (begin, end):
                return False
            new = self.source[node.start_byte : begin] + new + self.source[end : node.end_byte]
        elif genre == "UnaryOperator":
            node = above(node, "unary_expression")
            new += self.source[node.start_byte + 1 : node.end_byte]
        elif genre == "MatchArm":
            node = above(node, "match_arm")
        elif genre == "MatchArmGuard":
            node = above(node, "match_pattern").child_by_field_name("condition")
            if is_let(node):
                return False
        elif genre == "StructField":
            # The span has the comma, too.
            fields = above(node, "field_initializer_list").children
            node = next(field for field in fields if field.start_byte == begin)
            rest = [other for other in fields if other.type == "base_field_initializer"]
            new = self.source[rest[0].start_byte + 2 : rest[0].end_byte]
        else:
            return False
        self.nodes.setdefault(self.key(node), []).append((number, genre, new))
        return True

    @staticmethod
    def key(node):
        return node.start_byte, node.end_byte, node.type

    def text(self):
        return self.children(self.tree.root_node, 0)

    def children(self, node, begin):
        """The text of the node from an offset on, with the mutants in it."""
        text = b""
        for child in node.children:
            if child.start_byte >= begin:
                text += self.source[begin : child.start_byte] + self.node(child)
                begin = child.end_byte
        return text + self.source[begin : node.end_byte]

    def unchanged(self, node):
        if node.child_count:
            return self.children(node, node.start_byte)
        body = self.bodies.get(node.end_byte, b"") if node.type == "{" else b""
        return self.source[node.start_byte : node.end_byte] + body

    def node(self, node):
        mutants = self.nodes.get(self.key(node))
        if not mutants:
            return self.unchanged(node)
        number, genre, new = mutants[0]
        if genre == "MatchArm":
            pattern = node.child_by_field_name("pattern")
            guard = pattern.child_by_field_name("condition")
            off = marked(number, (b"!" if guard else b" if !") + on(number))
            if guard:
                old = self.node(guard) if is_let(guard) else b"(%s)" % self.node(guard)
                head = self.source[node.start_byte : guard.start_byte] + off + b" && " + old
            else:
                head = self.source[node.start_byte : pattern.end_byte] + off
            return head + self.children(node, pattern.end_byte)
        if genre == "StructField":
            name = self.source[node.children[0].start_byte : node.children[0].end_byte]
            value = node.child_by_field_name("value")
            new = marked(number, b"if %s { (%s).%s } else" % (on(number), new, name))
            return b"%s: %s { %s }" % (name, new, self.node(value) if value else name)
        text = b""
        for number, _, new in mutants:
            text += marked(number, b"if %s { %s } else" % (on(number), new))
        return b"(%s { %s })" % (text, self.unchanged(node))


def owner(text, begin, end):
    """The mutants that a compiler error at this place of a file belongs to."""
    inside = []
    for start in re.finditer(rb"/\*<(\d+)\*/", text):
        stop = text.index(b"/*%s>*/" % start[1], start.end())
        if start.start() <= begin <= stop:
            inside.append((stop - start.start(), int(start[1])))
    if inside:
        return {min(inside)[1]}
    # A match that is no longer exhaustive without its arms.
    node = above(PARSER.parse(text).root_node.descendant_for_byte_range(begin, end), "match_expression")
    found = set()
    for arm in node.child_by_field_name("body").children if node else ():
        if arm.type == "match_arm":
            head = text[arm.start_byte : arm.child_by_field_name("value").start_byte]
            found |= {int(number) for number in re.findall(rb"/\*<(\d+)\*/ +(?:if )?!", head)}
    return found
