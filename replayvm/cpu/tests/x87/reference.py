#!/usr/bin/env python3
"""Makes reference.txt: values of the transcendental functions to 96 bits, in decimal arithmetic of 150 digits.

    python3 reference.py > reference.txt

A line is an instruction, its operands ST(0) and ST(1) as 80-bit images, and the result: sign and exponent of the leading
bit, and the leading 96 bits, cut off. Of FPTAN it is the tangent. Angles are reduced by the 66-bit pi that processors use.
"""

import random
from decimal import Decimal, getcontext
from fractions import Fraction

getcontext().prec = 150
TINY = Decimal(10) ** -145
HALF_PI = Fraction(0x3243F6A8885A308D3, 1 << 65)
LN2 = Decimal(2).ln()


def decimal(fraction):
    return Decimal(fraction.numerator) / Decimal(fraction.denominator)


def series(x, next_term, first):
    total = term = first
    n = 1
    while abs(term) > TINY * abs(total):
        term = next_term(term, x, n)
        total += term
        n += 1
    return total


def sin(x):
    return series(x, lambda t, x, n: -t * x * x / ((2 * n) * (2 * n + 1)), x)


def cos(x):
    return series(x, lambda t, x, n: -t * x * x / ((2 * n - 1) * (2 * n)), Decimal(1))


def expm1(y):
    return series(y, lambda t, y, n: t * y / (n + 1), y)


def atan(t):
    """Halves the angle until the series is quick."""
    halvings = 0
    while abs(t) > Decimal("0.01"):
        t = t / (1 + (1 + t * t).sqrt())
        halvings += 1
    total, power, n = Decimal(0), t, 1
    while abs(power) > TINY * abs(t):
        total += power / n if n % 4 == 1 else -power / n
        power *= t * t
        n += 2
    return total * 2**halvings


PI = 4 * atan(Decimal(1))


def log1p(x):
    """By the inverse hyperbolic tangent, so that nothing cancels."""
    if abs(x) > Decimal("0.01"):
        return (1 + x).ln()
    s = x / (2 + x)
    total, power, n = Decimal(0), s, 1
    while abs(power) > TINY * abs(s):
        total += power / n
        power *= s * s
        n += 2
    return 2 * total


def reduced(x):
    """Quarter and rest of an angle."""
    quarter = round(x / HALF_PI)
    return quarter % 4, decimal(x - quarter * HALF_PI)


def circular(x, shift):
    quarter, rest = reduced(x)
    quarter = (quarter + shift) % 4
    value = cos(rest) if quarter % 2 else sin(rest)
    return -value if quarter > 1 else value


def arctangent(y, x):
    y, x = decimal(y), decimal(x)
    if abs(y) <= abs(x):
        base = atan(y / x)
        return base if x > 0 else base + (PI if y > 0 else -PI)
    return (PI / 2 if y > 0 else -PI / 2) - atan(x / y)


FUNCTIONS = {
    "fsin": lambda x, y: circular(x, 0),
    "fcos": lambda x, y: circular(x, 1),
    "fptan": lambda x, y: circular(x, 0) / circular(x, 1),
    "fpatan": lambda x, y: arctangent(y, x),
    "f2xm1": lambda x, y: expm1(decimal(x) * LN2),
    "fyl2x": lambda x, y: decimal(y) * log1p(decimal(x) - 1) / LN2,
    "fyl2xp1": lambda x, y: decimal(y) * log1p(decimal(x)) / LN2,
}

DICE = random.Random(80)


def number(lowest, highest, signed=True):
    """An image with an exponent from a range, and what it stands for."""
    exponent = DICE.randint(lowest, highest)
    significand = DICE.getrandbits(64) | 1 << 63
    shape = DICE.randrange(4)
    if shape == 0:
        significand &= (1 << 64) - (1 << DICE.randint(0, 63))
    elif shape == 1:
        significand |= (1 << DICE.randint(0, 63)) - 1
    negative = signed and DICE.randrange(2)
    value = Fraction(significand) * Fraction(2) ** (exponent - 63)
    image = negative << 79 | exponent + 0x3FFF << 64 | significand
    return image, -value if negative else value


def operands(name):
    one = (0x3FFF8000000000000000, Fraction(1))
    if name in ("fsin", "fcos", "fptan"):
        return number(*DICE.choice([(-40, -2), (-3, 2), (0, 8), (9, 62)])), one
    if name == "fpatan":
        return number(-20, 20), number(-20, 20)
    if name == "f2xm1":
        return number(*DICE.choice([(-60, -10), (-9, -1)])), one
    y = number(-30, 30)
    if name == "fyl2x":
        kind = DICE.randrange(3)
        if kind == 0:
            return number(-100, 100, signed=False), y
        # Close to one, from above and from below.
        image, value = number(0, 0, signed=False) if kind == 1 else number(-1, -1, signed=False)
        return (image, value), y
    return number(*DICE.choice([(-60, -10), (-9, -3)])), y


def result(value):
    """Sign, exponent and the leading 96 bits."""
    sign, value = ("-", -value) if value < 0 else ("+", value)
    exponent = 0
    while value >= 2**32:
        value /= 2**32
        exponent += 32
    while value < 1:
        value *= 2**32
        exponent -= 32
    while value >= 2:
        value /= 2
        exponent += 1
    return f"{sign}{exponent} {int(value * 2**95):024x}"


for name, function in FUNCTIONS.items():
    done = 0
    while done < 400:
        (x_image, x), (y_image, y) = operands(name)
        if x == 1 and name == "fyl2x":
            continue
        print(name, f"{x_image:020x} {y_image:020x}", result(function(x, y)))
        done += 1
