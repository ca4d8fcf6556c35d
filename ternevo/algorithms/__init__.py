"""Search over discrete weights: evosax ask/tell classes whose populations are int8.

They see no environment.
Each class takes a `solution`: a params pytree of `Tensor`s, all int8. Unlike
evosax's own classes, what they ask and what they keep stays int8.
"""
