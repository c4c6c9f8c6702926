# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Part 1, tutorial 1: tensor fundamentals
#
# **What exactly is a tensor, and why can two tensors that print the same behave differently?**
#
# > **Before you start:** Python; matrices and their product.
# >
# > **Time:** 45 minutes of reading, about as much again for the exercises.
# >
# > **You will be able to**
# > - predict the shape of a broadcast;
# > - decide whether a result is a view or a copy, and prove it;
# > - explain the strides of a transpose, a slice and an expansion;
# > - choose a number format, and show two computations of later parts that lose their meaning in
# >   float32;
# > - pass data between NumPy and torch without sharing it by accident.
# >
# > **You will build** `is_view`, `broadcast_shape`, `standardize` and `pairwise_sqdist`.

# %%
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bolearn import linalg, plotting, teach

teach.setup("p1.t1")

# %% [markdown]
# ## 1. Two tensors that print the same
#
# Here are two tables of nine numbers. They print alike, and `torch.equal` finds no difference.

# %%
a = torch.tensor([1.0, 2.0, 3.0]).expand(3, 3)
b = a.clone()
print(a)
print("equal:", torch.equal(a, b))

# %% [markdown]
# Now one number is written into the corner of each. Commit to a guess first: put `guess=...` into
# the call below and run it.

# %%
teach.predict("p1.t1.q1", "After a[0, 0] = 9, how many entries of a are 9?", [1, 3, 9], guess=None)

# %%
a[0, 0] = 9
b[0, 0] = 9
print(a)
print(b)
teach.reveal("p1.t1.q1", int((a == 9).sum()), because="a has one row in memory, read three times")

# %% [markdown]
# ## 2. A storage, a shape and a stride
#
# Memory is one long row of numbered places. A tensor keeps its numbers in a piece of that row,
# its **storage**. On top it keeps a **shape**, a **stride** for each axis, and an **offset**. To
# find entry $(i, j)$ it starts at the offset and walks:
#
# $$\text{place}(i, j) = \text{offset} + i \cdot \text{stride}_0 + j \cdot \text{stride}_1 .$$

# %%
x = torch.arange(12.0).reshape(3, 4)
print(x)
print("storage:", x.untyped_storage().nbytes(), "bytes for", x.numel(), "numbers")
print("shape:", tuple(x.shape), " stride:", x.stride(), " offset:", x.storage_offset())

# %% [markdown]
# One step down skips four places, one step to the right skips one.

# %%
teach.predict(
    "p1.t1.q2", "What is the stride of x.T?", ["(3, 1)", "(4, 1)", "(1, 4)"], guess=None
)

# %%
derived = {
    "x": x,
    "x.T": x.T,
    "x[1:, ::2]": x[1:, ::2],
    "x.reshape(4, 3)": x.reshape(4, 3),
    "x[:1].expand(3, 4)": x[:1].expand(3, 4),
    "x.T.contiguous()": x.T.contiguous(),
}
teach.explorable(
    "memory_layout", teach.explorables.memory_state(x, derived),
    still=plotting.memory_layout(x, derived),
    alt="Twelve numbers in a row, and six tables that read them: the first five pick places from "
    "the row by offset and stride, the last, in a hatched frame, has a row of its own.",
)
teach.reveal("p1.t1.q2", str(x.T.stride()), because="the two steps swap, and no number moves")

# %% [markdown]
# Each large number is a value; the small `@` and the colour say at which place of its storage it
# lies. (The page below the picture lets you walk through each table, entry by entry.)
# Transposing swapped two strides. Slicing moved the offset and doubled a step. `expand` set a
# stride to **0**: a step down stays where it is, which is how one row became three. Only
# `contiguous` wrote the numbers into a new storage, in reading order.
#
# If that is the whole truth, the formula must find every entry of all six.

# %%
def entry(t, i, j):
    places = t.untyped_storage().nbytes() // t.element_size()
    storage = t.as_strided((places,), (1,), 0)  # the bare row of numbers
    return storage[t.storage_offset() + i * t.stride(0) + j * t.stride(1)]


misses = sum(
    int(entry(t, i, j) != t[i, j])
    for t in derived.values()
    for i in range(t.shape[0])
    for j in range(t.shape[1])
)
teach.claim("offset and strides find every entry of all six tensors", misses == 0)

# %% [markdown]
# ## 3. View or copy?
#
# A tensor that reads another one's storage is a **view**. Printing does not tell it from a copy;
# writing does.

# %%
teach.predict("p1.t1.q3", "Does reshape copy?", ["always", "never", "it depends"], guess=None)

# %%
expressions = [
    "x[1]", "x[[0, 2]]", "x[:, ::2]", "x[x > 3]", "x.T", "x.T.contiguous()", "x.contiguous()",
    "x.reshape(4, 3)", "x.T.reshape(12)", "x[:1].expand(3, 4)", "x.clone()", "x + 0",
]


def notices(expression):
    x = torch.arange(12.0).reshape(3, 4)
    y = eval(expression)  # the expression's value for this x
    before = y.clone()
    x += 100  # writes into x's storage
    return not torch.equal(y, before)


found = {expression: notices(expression) for expression in expressions}
for expression, noticed in found.items():
    print(f"{expression:20}{'view' if noticed else 'copy'}")

# %%
views = {"x[1]", "x[:, ::2]", "x.T", "x.contiguous()", "x.reshape(4, 3)", "x[:1].expand(3, 4)"}
teach.claim("of twelve expressions, writing to x reaches exactly these six views", kind="run",
            condition={expression for expression, seen in found.items() if seen} == views)
same = torch.equal(x[[0, 2]], x.as_strided((2, 4), (8, 1)))
teach.claim("x[[0, 2]] is a copy, although the strides (8, 1) describe it", kind="run",
            condition=same and not found["x[[0, 2]]"])
teach.reveal("p1.t1.q3", "it depends", because="only some new shapes have strides in the old row")

# %% [markdown]
# A view needs an offset and one stride per axis, and no number has to move. Single indices, slices,
# transposes and `expand` always give one. A list of indices, or a mask of True and False, always
# copies, even where strides would do, as for `x[[0, 2]]`. `reshape` tries a view first:
# `x.reshape(4, 3)` walks the row as it lies, but `x.T.reshape(12)` would have to visit 0, 4, 8, 1,
# 5, …, and no single step does that. `contiguous` returns what it was given if that is in reading
# order already.
#
# **Exercise 1.** Write the test as a function. Run the cell for an instant check, and
# `teach.hint("p1.t1.e1", 1)` if you are stuck.

# %%
# exercise: p1.t1.e1

# %% [markdown]
# A stride of 0 saves memory, but a write then reaches every entry that shares the place.

# %%
teach.predict(
    "p1.t1.q4", "How many bytes does the storage of torch.zeros(3).expand(10**6, 3) take?",
    [12_000_000, 12], guess=None,
)

# %%
def refuses(action):
    try:
        action()
    except RuntimeError:
        return True
    return False


wide = torch.zeros(3).expand(10**6, 3)
print(f"{wide.numel():,} entries, stride {wide.stride()}")
stored = wide.untyped_storage().nbytes()
teach.reveal("p1.t1.q4", stored, because="three numbers of four bytes each")
teach.claim("a million expanded rows of three numbers are stored in 12 bytes", stored == 12)
narrow = torch.zeros(3).expand(2, 3)
writes = {"add_": lambda: narrow.add_(1), "copy_": lambda: narrow.copy_(torch.ones(2, 3)),
          "fill_": lambda: narrow.fill_(1)}
print({name: "refused" if refuses(write) else "passes" for name, write in writes.items()})
teach.claim("on an expanded tensor add_ and copy_ are refused, fill_ is not", kind="run",
            condition=[refuses(write) for write in writes.values()] == [True, True, False])

# %% [markdown]
# `wide.add_(1)` would add to the same three places a million times, so torch refuses it. It does
# not refuse every write: `fill_` passes, and so did the single assignment of section 1. Write into
# an expanded tensor only after `clone()`.
#
# ## 4. The border to NumPy

# %%
teach.predict(
    "p1.t1.q5", "s = torch.tensor(array); t = torch.from_numpy(array); array[0] = 7. Who notices?",
    ["both", "only s", "only t", "neither"], guess=None,
)

# %%
array = np.zeros(3)
s, t = torch.tensor(array), torch.from_numpy(array)
array[0] = 7
print("s:", s.tolist(), " t:", t.tolist())
t[1] = 8
print("array after t[1] = 8:", array.tolist())
teach.claim("from_numpy shares the array's memory in both directions, torch.tensor copies",
            kind="run", condition=t[0] == 7 and array[1] == 8 and not s.any())
teach.reveal("p1.t1.q5", "only t", because="torch.tensor copies; from_numpy wraps what is there")

# %%
print("torch.tensor([0.1]).dtype:             ", torch.tensor([0.1]).dtype)
print("torch.tensor(np.array([0.1])).dtype:   ", torch.tensor(np.array([0.1])).dtype)
teach.claim(
    "a list of Python floats arrives as float32, the same numbers in a NumPy array as float64",
    kind="run", condition=torch.tensor([0.1]).dtype == torch.float32
    and torch.tensor(np.array([0.1])).dtype == torch.float64,
)

# %% [markdown]
# A second surprise at the same border: the two routes differ in *format*. (A list of whole numbers
# arrives as int64 by either.) Section 7 shows what that costs.
#
# ## 5. Broadcasting: stride 0 without asking

# %%
teach.predict(
    "p1.t1.q6", "What is the shape of a (3, 1) tensor plus a (4,) tensor?",
    ["an error", "(4, 3)", "(3, 4)"], guess=None,
)

# %%
pairs = [((3, 4), (4,)), ((3, 4), (3, 1)), ((3, 1), (4,))]
teach.show(
    plotting.broadcast_diagram(pairs),
    "Three sums of grids: a row of 4 read as a 3 by 4 table by strides (0, 1), a column read as "
    "one by (1, 0), and both at once; what is read again is drawn as hatched cells.",
)
total = torch.zeros(3, 1) + torch.zeros(4)
teach.reveal("p1.t1.q6", str(tuple(total.shape)), because="each is stretched along one axis")

# %% [markdown]
# Solid cells exist, hatched ones are the same numbers read again. The rule behind all three:
#
# 1. line the two shapes up **from the right**;
# 2. where one is too short, imagine 1s on its left;
# 3. on each axis the sizes must be equal, or one of them is 1 and gets stretched.
#
# Does torch follow exactly this, also for sizes of 0 and for shapes that do not fit?

# %%
def fits(a, b):
    return all(p == q or 1 in (p, q) for p, q in zip(a[::-1], b[::-1], strict=False))


def torch_adds(a, b):
    return not refuses(lambda: torch.empty(a) + torch.empty(b))


rng = np.random.default_rng(0)
shapes = [tuple(rng.integers(0, 4, size=rng.integers(0, 4)).tolist()) for _ in range(1000)]
pairs = list(zip(shapes[:500], shapes[500:], strict=True))
fitting = sum(fits(a, b) for a, b in pairs)
print(f"500 pairs of shapes: {fitting} fit, {500 - fitting} do not")
teach.claim("torch adds two shapes exactly when the rule allows it, 500 random pairs",
            kind="run", condition=all(fits(a, b) == torch_adds(a, b) for a, b in pairs))

# %% [markdown]
# **Exercise 2.** The rule says whether two shapes fit. Which shape comes out?

# %%
# exercise: p1.t1.e2

# %% [markdown]
# Broadcasting never asks whether you meant it. Here is a column of predictions minus a list of
# targets, 64 of each:

# %%
predictions, targets = torch.zeros(64, 1), torch.zeros(64)
print(tuple((predictions - targets).shape))

# %% [markdown]
# No error and no warning, only 4096 differences instead of 64. The next tutorial shows how to
# notice.
#
# ## 6. Entry by entry, or summed over a shared axis
#
# Equal shapes tempt one to believe that `*` is the matrix product.

# %%
A = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
teach.predict("p1.t1.q7", "What is the top left entry of A * A?", [7, 1], guess=None)

# %%
print("A * A\n", A * A)
print("A @ A\n", A @ A)
teach.reveal("p1.t1.q7", int((A * A)[0, 0]), because="* multiplies entry by entry: 1 · 1")

# %% [markdown]
# `*` broadcasts; `@` sums over a shared axis. `einsum` lets you name the axes, and a letter that
# does not reappear after the arrow is summed away. Below, `nd,md->nm` takes $n$ and $m$ points
# with $d$ coordinates each and returns all their inner products.

# %%
g = torch.Generator().manual_seed(0)  # random numbers, the same in every run
U = torch.randn(5, 3, generator=g, dtype=torch.float64)
V = torch.randn(4, 3, generator=g, dtype=torch.float64)
loop = torch.zeros(5, 4, dtype=torch.float64)
for n in range(5):
    for m in range(4):
        for d in range(3):
            loop[n, m] += U[n, d] * V[m, d]
named = torch.einsum("nd,md->nm", U, V)
teach.claim("einsum is three loops, written in one line", error=(named - loop).abs(),
            tolerance=1e-14)
teach.claim("einsum of nd,md->nm is the matrix product U Vᵀ", error=(U @ V.T - named).abs(),
            tolerance=1e-14)

# %% [markdown]
# For a *stack* of matrices `.T` is the wrong tool: it stands for reversing all axes. `.mT`
# transposes each matrix and leaves the stack alone.

# %%
stack = torch.randn(5, 2, 3, generator=g, dtype=torch.float64)
print("all axes reversed:", tuple(stack.permute(2, 1, 0).shape), "  .mT:", tuple(stack.mT.shape))
gram = stack @ stack.mT  # 5 2 2: one product for each of the five
one_by_one = torch.stack([matrix @ matrix.T for matrix in stack])
teach.claim("a product of stacks is the stack of products", error=(gram - one_by_one).abs(),
            tolerance=1e-14)

# %% [markdown]
# ## 7. Number formats
#
# A **dtype** is the format in which each number is stored. torch's default is float32.

# %%
teach.predict("p1.t1.q8", "What is torch.tensor(16777217.0) - 16777216?", [1, 0], guess=None)

# %%
def gap(value, dtype):
    """The distance from a number to the next larger one that the format has."""
    value = torch.tensor(value, dtype=dtype)
    return (torch.nextafter(value, torch.tensor(torch.inf, dtype=dtype)) - value).item()


big = torch.tensor(16777217.0)
teach.reveal("p1.t1.q8", int(big - 16777216), because="float32 has no number 16777217")
for value in (1.0, 1e3, 1e6, 2.0**24):
    print(f"gap after {value:10.0f}   float32 {gap(value, torch.float32):.1e}"
          f"   float64 {gap(value, torch.float64):.1e}")
teach.claim("16777217 = 2²⁴ + 1 is stored as 2²⁴ in float32", kind="run", condition=big == 2**24)
teach.claim("the gap after 1 is 2⁻²³ in float32 and 2⁻⁵² in float64", kind="run",
            condition=gap(1.0, torch.float32) == 2**-23 and gap(1.0, torch.float64) == 2**-52)

# %% [markdown]
# The numbers of a format lie like marks on a ruler that gets coarser with size: float32 keeps
# about seven decimal digits of a number whose size is between 1e-38 and 3e38, float64 about
# sixteen between 1e-308 and 1e308. The gap after 1 is called **eps**. Whole numbers have traps of
# their own.

# %%
counts = torch.tensor([1, 2, 3])
print("list of ints:", counts.dtype, "   divided by 2:", (counts / 2).dtype)
print("uint8 200 + 100 =", (torch.tensor(200, dtype=torch.uint8) + 100).item())
teach.claim("torch refuses the mean of whole numbers, and adding 0.5 to them in place", kind="run",
            condition=refuses(counts.mean) and refuses(lambda: counts.add_(0.5)))

# %% [markdown]
# A `uint8` has 256 values and wraps around in silence. When two formats meet entry by entry, torch
# chooses the result's (**promotion**; `@` refuses instead). First the *kind* decides: floating
# point over whole numbers, these over True and False. Only between two formats of one kind the
# wider one wins (for `uint8` and `int8` the next wider, `int16`). And beside a tensor with axes
# one without, like a Python number, has no say within its kind.

# %%
ladder = [torch.bool, torch.int32, torch.int64, torch.float32, torch.float64]
results = [[(torch.ones(2, dtype=a) + torch.ones(2, dtype=b)).dtype for b in ladder]
           for a in ladder]
teach.claim("of two of these five formats the one further up the ladder results, all 25 pairs",
            kind="run", condition=results == [[ladder[max(i, j)] for j in range(5)]
                                              for i in range(5)])
whole, one = torch.tensor([16777217]), torch.tensor(1.0, dtype=torch.float64)
print("int64 plus float32:", (whole + torch.zeros(1)).dtype, (whole + torch.zeros(1)).tolist())
teach.claim("int64 plus float32 is float32, and drops the last digit of 16777217", kind="run",
            condition=(whole + torch.zeros(1)).double().item() == 16777216)
teach.claim("a float32 vector plus 0.1, or plus a float64 without axes, stays float32", kind="run",
            condition={(torch.ones(2) + term).dtype for term in (0.1, one)} == {torch.float32})

# %% [markdown]
# Promotion cannot bring back digits that float32 has dropped.
#
# **Exercise 3.** Columns of very different size are brought to a common scale before almost every
# computation in this course. Tools: `mean`, `std` and `amax` take `dim=-2`, the last axis but
# one, and `keepdim=True`, which keeps that axis with length 1. Mind the columns that are constant
# but for rounding.

# %%
# exercise: p1.t1.e3

# %% [markdown]
# ## 8. All squared distances at once
#
# Most models in this course start from one question: how far are these points from each other? For
# $n$ points with $d$ coordinates, indexing with `None` adds an axis of length 1, and
# broadcasting does the rest.

# %%
X = torch.rand(200, 1, generator=g, dtype=torch.float64)  # 200 points between 0 and 1
difference = X[:, None, :] - X[None, :, :]  # n n d
D = difference.square().sum(-1)  # n n: summed over the last axis
print(tuple(difference.shape), "->", tuple(D.shape))
teach.claim("by hand is what bolearn.linalg.squared_distances returns",
            error=(D - linalg.squared_distances(X, X)).abs(), tolerance=1e-12)

# %% [markdown]
# The table of differences is $d$ times larger than the result. Textbooks avoid it by
# $\|a - b\|^2 = \|a\|^2 + \|b\|^2 - 2\,a \cdot b$: one matrix product, and exact on paper. Move
# the points to between 1000 and 1001, a temperature in kelvin, say, and use float32.

# %%
teach.predict(
    "p1.t1.q9", "Squared distances are at most 1. The expanded formula's worst error is about ...",
    ["0.0000001", "0.0001", "0.2"], guess=None,
)

# %%
def expanded(x):
    squares = x.square().sum(-1)
    return squares[:, None] + squares[None, :] - 2 * x @ x.T


far = (1000 + X).float()
direct = (far[:, None, :] - far[None, :, :]).square().sum(-1)
error_expanded = (expanded(far) - D).abs().max().item()
error_direct = (direct - D).abs().max().item()
print(f"worst error: expanded {error_expanded:.1f}, subtracting first {error_direct:.4f}")
print("negative squared distances:", bool((expanded(far) < 0).any()))
coarse = gap(1e6, torch.float32)
teach.reveal("p1.t1.q9", f"{error_expanded:.1f}", because=f"float32's gap near 1000² is {coarse}")

# %%
as_stored = far.double()
exact = (as_stored[:, None, :] - as_stored[None, :, :]).square().sum(-1)
teach.claim("near 1000 in float32 the expanded formula errs over 100 times as much",
            error_expanded > 100 * error_direct, kind="run")
teach.claim("there the expanded formula makes some squared distances negative",
            bool((expanded(far) < 0).any()), kind="run")
teach.claim("subtracting first is accurate for the points as they are stored",
            error=(direct - exact).abs(), tolerance=1e-6)
teach.claim("squared_distances centres the points first, and is accurate",
            error=(linalg.squared_distances(far, far) - exact).abs(), tolerance=1e-5)

# %% [markdown]
# The formula subtracts two numbers near two million whose last digits are already rounded; in the
# small answer that is left, those roundings weigh heavily. This is **cancellation**. Moved to
# their centre first, the same points are safe; two clusters far apart would not be.
#
# **Exercise 4.** Your own version, for any number of problems at once.

# %%
# exercise: p1.t1.e4

# %% [markdown]
# ## 9. A matrix that stops being positive definite
#
# Turn a distance into a similarity, $k(x, z) = \exp\!\left(-\frac{(x - z)^2}{2 \ell^2}\right)$: 1
# for equal points, nearly 0 when they are several $\ell$ apart. The table $K$ of all similarities
# is a **kernel matrix**. For distinct points it is positive definite: $v^\top K v > 0$ for every
# vector $v \neq 0$. Such a matrix has a "square root", a lower triangular $L$ with
# $L L^\top = K$, its **Cholesky factor**. The predictions of Part 3 all go through it.

# %%
def kernel_matrix(points, lengthscale=0.2):
    difference = points[..., :, None] - points[..., None, :]  # the dots: any axes in front
    return torch.exp(-0.5 * (difference / lengthscale).square())


def factorises(K, jitter=0.0):
    """Whether the computer finds L for K + jitter * identity, for one matrix or for a stack."""
    added = jitter * torch.eye(K.shape[-1], dtype=K.dtype)
    return torch.linalg.cholesky_ex(K + added).info == 0


# %%
teach.predict(
    "p1.t1.q10", "50 equally spaced points on [0, 1], ℓ = 0.2: which format can factorise K?",
    ["both", "only float64", "neither"], guess=None,
)

# %%
works = {}
for dtype in (torch.float32, torch.float64):
    K = kernel_matrix(torch.linspace(0, 1, 50, dtype=dtype))
    works[dtype] = bool(factorises(K))
print(works)
teach.claim("the Cholesky factorisation of K for 50 points fails, in float32 and in float64",
            not any(works.values()), kind="run")
smallest = torch.linalg.eigvalsh(K)[0].abs()  # of the last K, in float64
teach.claim("K's smallest eigenvalue is zero as far as float64 can tell", error=smallest,
            tolerance=1e-13, kind="run")
teach.reveal("p1.t1.q10", "neither", because="rounding moves the smallest eigenvalues below zero")

# %% [markdown]
# Neighbouring points have nearly equal columns, so some eigenvalues of $K$ are far smaller than
# the rounding of its entries. The remedy is **jitter**: add a small number to the diagonal, which
# lifts all eigenvalues by as much. How small may it be? We try twenty random orders of the points
# for each size.

# %%
sizes = [10, 20, 30, 50, 100, 200]
jitters = [0, 1e-16, 1e-14, 1e-12, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4]
success = {}
for dtype in (torch.float32, torch.float64):
    table = torch.zeros(len(sizes), len(jitters), dtype=torch.float64)
    for row, n in enumerate(sizes):
        orders = torch.stack([torch.randperm(n, generator=g) for _ in range(20)])
        K = kernel_matrix(torch.linspace(0, 1, n, dtype=dtype)[orders])  # 20 n n
        table[row] = torch.stack([factorises(K, jitter).double().mean() for jitter in jitters])
    success[str(dtype)] = table
teach.show(
    plotting.success_heatmap(success, sizes, jitters, row_label="number of points",
                             column_label="jitter added to the diagonal"),
    "Per cent of Cholesky factorisations that succeed. All do with 10 points; from 30 points on "
    "float32 fails up to a jitter of 1e-7 and always succeeds from 1e-5 on, float64 from 1e-14 on.",
)

# %%
at_50 = {dtype: dict(zip(jitters, table[sizes.index(50)].tolist(), strict=True))
         for dtype, table in success.items()}
teach.claim("float32, 50 points: a jitter of 1e-7 fails in all orders, 1e-5 works in all",
            at_50["torch.float32"][1e-7] == 0 and at_50["torch.float32"][1e-5] == 1, kind="run")
teach.claim("float64, 50 points: no jitter fails in all orders, 1e-10 works in all",
            at_50["torch.float64"][0] == 0 and at_50["torch.float64"][1e-10] == 1, kind="run")
for jitter in (1e-10, 1e-5):
    print(f"variance {jitter:g}: standard deviation {jitter**0.5:.1g}")

# %% [markdown]
# The jitter must outweigh the format's rounding, and eps is half a billion times as large in
# float32. Part 3 will read the jitter as measurement noise of that variance: 1e-10 means a
# standard deviation of 0.00001, but 1e-5 one of 0.003, and good instruments are better than that.
# Where exactly the border runs depends on the points, on $\ell$ and on the machine's libraries.
# Where digits count, this course computes in **float64**.
#
# ## 10. Writing in place

# %%
teach.predict(
    "p1.t1.q11", "Two functions: t = t + 1, and t += 1; both return t. Which changes your tensor?",
    ["both", "only t = t + 1", "only t += 1", "neither"], guess=None,
)

# %%
def add_new(t):
    t = t + 1
    return t


def add_in_place(t):
    t += 1
    return t


mine, yours = torch.zeros(2), torch.zeros(2)
add_new(mine)
add_in_place(yours)
print("mine:", mine.tolist(), " yours:", yours.tolist())
teach.claim("+= in a function changes the caller's tensor, = does not", kind="run",
            condition=bool((mine == 0).all() and (yours == 1).all()))
teach.reveal("p1.t1.q11", "only t += 1", because="+= writes into the storage it was handed")
row = torch.arange(8.0)
teach.claim("torch refuses to add row[:-1] to row[1:] in place, but not row[:-2:2] to row[2::2]",
            kind="run", condition=refuses(lambda: row[1:].add_(row[:-1]))
            and not refuses(lambda: row[2::2].add_(row[:-2:2])))

# %% [markdown]
# The last claim is the same danger within one tensor: each sum would read numbers just overwritten.
# torch refuses where it notices the overlap, and with steps it does not. Methods with
# a trailing underscore (`add_`, `fill_`) write in place too. Use them on tensors of your own that
# nobody else is looking at through a view.
#
# ## 11. Where a tensor lives
#
# A storage lies on a **device**: the processor's memory (`cpu`), say, or a graphics card's
# (`cuda`). Results stay where their inputs are; a new tensor needs `device=x.device`. The cell
# tries `cpu`, `cuda` if this machine has it, and `meta`, whose tensors have a shape and no
# numbers. (Apple's `mps` has no float64.)

# %%
devices = ["meta", "cpu", *["cuda"] * torch.cuda.is_available()]
moved = [linalg.squared_distances(X.to(device), X.to(device)) for device in devices]
teach.claim("results stay on their inputs' device", kind="run",
            condition=[result.device.type for result in moved] == devices)
worst = max((result.cpu() - D).abs().max() for result in moved[1:])
teach.claim("cpu, and cuda where it was tried, compute the same squared distances in float64",
            error=worst, tolerance=1e-12)

# %% [markdown]
# ## What this notebook proved

# %%
teach.claims_table()

# %% [markdown]
# ## Come back tomorrow
#
# Without scrolling up:
#
# 1. `y = x[::2]` and `z = x[[0, 2, 4]]` print the same. You add 1 to `y` in place. What happens to
#    `x` and to `z`, and why?
# 2. Which of the shapes `(5, 1)`, `(5,)`, `(1, 3)` can be subtracted from a `(5, 3)` table? What
#    do the others need?
# 3. Name two computations that are right on paper and spoilt by rounding, far more in float32 than
#    in float64, and a remedy for each.
#
# **So, what is a tensor?** A storage, a dtype to read it by, a shape, strides and an offset.
# Printing shows the numbers, not the places they are read from: two tensors that print the same
# can differ in what a write does. Next: tutorial 2, the operations that turn loops over points
# into one expression.
#
# ## Sources
#
# - S. van der Walt, S. C. Colbert, G. Varoquaux, "The NumPy array: a structure for efficient
#   numerical computation", *Computing in Science & Engineering* 13 (2011),
#   [doi:10.1109/MCSE.2011.37](https://doi.org/10.1109/MCSE.2011.37): storage and strides.
# - PyTorch documentation: [tensor views](https://docs.pytorch.org/docs/stable/tensor_view.html),
#   [broadcasting](https://docs.pytorch.org/docs/stable/notes/broadcasting.html).
# - D. Goldberg, "What every computer scientist should know about floating-point arithmetic",
#   *ACM Computing Surveys* 23 (1991),
#   [doi:10.1145/103162.103163](https://doi.org/10.1145/103162.103163).
# - N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd edition, SIAM 2002,
#   [doi:10.1137/1.9780898718027](https://doi.org/10.1137/1.9780898718027): cancellation
#   (chapter 1), Cholesky factorisation (chapter 10).
