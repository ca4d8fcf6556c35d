"""Search over discrete weights: evosax ask/tell classes whose populations are int8.

They know nothing about environments.
Each class takes a `solution`: a params pytree of `Tensor`s, all int8. Unlike
evosax's own classes, they ask and keep populations as int8.
"""
