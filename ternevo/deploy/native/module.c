/* ternevo.deploy._native: a policy in C, for Python. Limited API, so that one build serves all. */
#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "tvp.h"

typedef struct {
    PyObject_HEAD
    kernels_net *net;
    kernels_work *spare; /* of no call at the moment, or NULL; taken and put back under the GIL */
    /* Functions, or NULL, which must not refer to the policy: one makes float32 of what is not, the
       other a new array for a continuous action. */
    PyObject *convert, *new_action;
    Py_ssize_t inputs, outputs, memory_size;
    int is_discrete, input_kind;
} policy;

/* ------------------------------------------------------------------------------------ refusals */

/* Raise ternevo.deploy.tvp.PolicyFormatError, the very class, with its offset and its reason. */
static void raise_format_error(const tvp_error *error) {
    PyObject *module = PyImport_ImportModule("ternevo.deploy.tvp");
    PyObject *class = module ? PyObject_GetAttrString(module, "PolicyFormatError") : NULL;
    PyObject *arguments = Py_BuildValue("(ns)", (Py_ssize_t)error->offset, error->reason);
    if (class != NULL && arguments != NULL) {
        PyErr_SetObject(class, arguments);
    }
    Py_XDECREF(arguments);
    Py_XDECREF(class);
    Py_XDECREF(module);
}

/* Decode what a bytes-like object holds, or raise. */
static int decode(PyObject *data, tvp_policy *found) {
    Py_buffer view;
    tvp_error error;
    memset(found, 0, sizeof *found); /* so that it can be freed, whatever happens */
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) != 0) {
        return -1;
    }
    int status = tvp_decode(view.buf, (size_t)view.len, found, &error);
    PyBuffer_Release(&view);
    if (status == TVP_REFUSED) {
        raise_format_error(&error);
    } else if (status == TVP_NO_MEMORY) {
        PyErr_NoMemory();
    }
    return status == TVP_OK ? 0 : -1;
}

static PyObject *shape_of(const Py_buffer *view) {
    PyObject *shape = PyTuple_New(view->ndim);
    for (int i = 0; shape != NULL && i < view->ndim; i++) {
        if (PyTuple_SetItem(shape, i, PyLong_FromSsize_t(view->shape[i])) != 0) {
            Py_CLEAR(shape);
        }
    }
    return shape;
}

/* ------------------------------------------------------------------------------------- buffers */

/* An array that a method takes; a dimension of -1 may be of any size. */
typedef struct {
    const char *name, *dtype, *formats; /* formats: letters that mean the dtype */
    int itemsize, is_written, ndim;
    Py_ssize_t shape[2];
} wanted;

static int is_of_format(const Py_buffer *view, const wanted *w) {
    const char *format = view->format == NULL ? "B" : view->format;
    if (*format == '@' || *format == '=' || (*format == '<' && PY_LITTLE_ENDIAN)) {
        format++;
    }
    return view->itemsize == w->itemsize && format[0] != '\0' && format[1] == '\0' &&
           strchr(w->formats, format[0]) != NULL;
}

static int is_of_shape(const Py_buffer *view, const wanted *w) {
    int equal = view->ndim == w->ndim;
    for (int i = 0; equal && i < w->ndim; i++) {
        equal = w->shape[i] < 0 || view->shape[i] == w->shape[i];
    }
    return equal;
}

/* Get the buffer if it is as wanted; else return -1, without an exception. */
static int try_open(PyObject *array, const wanted *w, Py_buffer *view) {
    int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (w->is_written ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(array, view, flags) != 0) {
        PyErr_Clear();
        return -1;
    }
    if (is_of_format(view, w) && is_of_shape(view, w)) {
        return 0;
    }
    PyBuffer_Release(view);
    return -1;
}

static PyObject *text_of_wanted(const wanted *w) {
    PyObject *shape = NULL;
    if (w->ndim == 1) {
        shape = PyUnicode_FromFormat("(%zd,)", w->shape[0]);
    } else if (w->shape[0] < 0) {
        shape = PyUnicode_FromFormat("(n, %zd)", w->shape[1]);
    } else {
        shape = PyUnicode_FromFormat("(%zd, %zd)", w->shape[0], w->shape[1]);
    }
    return shape;
}

/* Say what is wrong with an array that `try_open` did not take. */
static void raise_unwanted(PyObject *array, const wanted *w) {
    Py_buffer view;
    PyObject *text = text_of_wanted(w), *shape = NULL;
    const char *access = w->is_written ? "writable and " : "";
    if (text == NULL) {
        return;
    }
    if (PyObject_GetBuffer(array, &view, PyBUF_FULL_RO) != 0) {
        PyErr_Clear();
        PyErr_Format(PyExc_TypeError, "%s is %R, not a %scontiguous array of %s %U", w->name,
                     (PyObject *)Py_TYPE(array), access, w->dtype, text);
    } else {
        shape = view.ndim > 0 ? shape_of(&view) : PyTuple_New(0);
        if (shape != NULL) {
            int of_type = is_of_format(&view, w);
            PyErr_Format(of_type ? PyExc_ValueError : PyExc_TypeError,
                         "%s has format '%s' and shape %R; must be a %scontiguous array of %s %U",
                         w->name, view.format ? view.format : "B", shape, access, w->dtype, text);
        }
        PyBuffer_Release(&view);
    }
    Py_XDECREF(shape);
    Py_DECREF(text);
}

static int open_array(PyObject *array, const wanted *w, Py_buffer *view) {
    if (try_open(array, w, view) == 0) {
        return 0;
    }
    raise_unwanted(array, w);
    return -1;
}

/* The largest observation of another dtype that is converted here, on the stack. */
enum { MOST_CONVERTED = 1024 };

/* One observation: an open array, whose numbers are in `converted` or, as the network takes them, in
   `integers` instead, where `values` is NULL. */
typedef struct {
    Py_buffer view;
    const float *values;
    union {
        float converted[MOST_CONVERTED];
        int8_t integers[MOST_CONVERTED];
    } own;
} observation;

/* A NumPy dtype that is 64 bits wide on all platforms but is called `l` on some. */
#if LONG_MAX == INT32_MAX
typedef int32_t c_long;
typedef uint32_t c_ulong;
#else
typedef int64_t c_long;
typedef uint64_t c_ulong;
#endif

/* Make float32 of an array as NumPy does; return -1 if it is not of the shape, or of another kind
   than bool, integers and float64. */
static int convert_here(Py_buffer *view, Py_ssize_t size, float *to) {
    const char *format = view->format == NULL ? "B" : view->format;
    if (*format == '@' || *format == '=' || (*format == '<' && PY_LITTLE_ENDIAN)) {
        format++;
    }
    if (view->ndim != 1 || view->shape[0] != size || format[0] == '\0' || format[1] != '\0') {
        return -1;
    }
#define CONVERT(letter, type)                                       \
    case letter: {                                                  \
        const type *from = view->buf;                               \
        if (view->itemsize != (Py_ssize_t)sizeof(type) ||           \
            (uintptr_t)view->buf % sizeof(type) != 0) {             \
            return -1; /* `=` and `<` may be of any size, anywhere */ \
        }                                                           \
        for (Py_ssize_t i = 0; i < size; i++) {                     \
            to[i] = (float)from[i];                                 \
        }                                                           \
        return 0;                                                   \
    }
    switch (format[0]) {
        CONVERT('?', uint8_t)
        CONVERT('b', int8_t)
        CONVERT('B', uint8_t)
        CONVERT('h', int16_t)
        CONVERT('H', uint16_t)
        CONVERT('i', int32_t)
        CONVERT('I', uint32_t)
        CONVERT('l', c_long)
        CONVERT('L', c_ulong)
        CONVERT('q', int64_t)
        CONVERT('Q', uint64_t)
        CONVERT('d', double)
    default:
        return -1;
    }
#undef CONVERT
}

static int is_wanted(const Py_buffer *view, const wanted *w) {
    return is_of_format(view, w) && is_of_shape(view, w) &&
           (uintptr_t)view->buf % (size_t)w->itemsize == 0;
}

/* Bytes of a bool, an int8 or a uint8 as the integers that the network takes. */
static void quantise_bytes(const uint8_t *from, Py_ssize_t size, int is_signed, int kind,
                           int8_t *q) {
    const int offset = kind == TVP_PIXELS ? 128 : 0;
    for (Py_ssize_t i = 0; kind == TVP_BITS && i < size; i++) {
        q[i] = from[i] != 0 && !(is_signed && from[i] > 127);
    }
    for (Py_ssize_t i = 0; kind != TVP_BITS && i < size; i++) {
        int value = (is_signed ? (int8_t)from[i] : from[i]) - offset;
        q[i] = (int8_t)(value < -127 ? -127 : value > 127 ? 127 : value);
    }
}

/* Eight bits as eight bytes, the lowest bit first: each is moved into a byte of its own, and carried
   from wherever it is there into the highest place. */
static void spread_octet(uint64_t octet, int8_t *q) {
    uint64_t apart = octet * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
    apart = (apart + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7 & UINT64_C(0x0101010101010101);
    for (int j = 0; j < 8; j++) {
        q[j] = (int8_t)(apart >> 8 * j);
    }
}

/* Fill the integers that the network takes of bytes, or of bits in words of 64 or of 8, the first in
   the lowest place; return -1 if it is neither. A single number is not a word. */
static int quantise_here(const policy *self, const Py_buffer *view, int8_t *q) {
    const Py_ssize_t size = self->inputs;
    const wanted bytes = {"bytes", "bytes", "?bB", 1, 0, 1, {size, 0}};
    const wanted octets = {"words", "uint8", "B", 1, 0, 1, {(size + 7) / 8, 0}};
    const wanted words = {"words", "uint64", "QL", 8, 0, 1, {(size + 63) / 64, 0}};
    const uint8_t *from = view->buf;
    if (is_wanted(view, &bytes)) {
        int is_signed = view->format != NULL && strchr(view->format, 'b') != NULL;
        quantise_bytes(from, size, is_signed, self->input_kind, q);
        return 0;
    }
    if (self->input_kind != TVP_BITS || size == 1) {
        return -1;
    }
    if (is_wanted(view, &octets)) {
        for (Py_ssize_t i = 0; i < size; i += 8) {
            spread_octet(from[i / 8], q + i); /* there is room for all eight */
        }
        return 0;
    }
    if (is_wanted(view, &words)) {
        const uint64_t *whole = view->buf;
        for (Py_ssize_t i = 0; i < size; i += 8) {
            spread_octet(whole[i / 64] >> i % 64 & 0xff, q + i);
        }
        return 0;
    }
    return -1;
}

/* Open one observation. What is not float32 is converted here, or else by `convert`, if there is
   one: lists, other shapes of an image, strides. */
static int open_observation(policy *self, PyObject *obs, observation *found) {
    const wanted w = {"an observation", "float32", "f", 4, 0, 1, {self->inputs, 0}};
    Py_buffer *view = &found->view;
    if (PyObject_GetBuffer(obs, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) == 0) {
        if (is_of_format(view, &w) && is_of_shape(view, &w)) {
            found->values = view->buf;
            return 0;
        }
        if (self->inputs <= MOST_CONVERTED) {
            found->values = NULL;
            if (self->input_kind != TVP_F32 && quantise_here(self, view, found->own.integers) == 0) {
                return 0;
            }
            found->values = found->own.converted;
            if (convert_here(view, self->inputs, found->own.converted) == 0) {
                return 0;
            }
        }
        PyBuffer_Release(view);
    }
    PyErr_Clear();
    if (self->convert == NULL) {
        raise_unwanted(obs, &w);
        return -1;
    }
    PyObject *converted = PyObject_CallFunctionObjArgs(self->convert, obs, NULL);
    if (converted == NULL) {
        return -1;
    }
    int status = open_array(converted, &w, view); /* the view keeps the array */
    found->values = view->buf;
    Py_DECREF(converted);
    return status;
}

static int open_rows(policy *self, PyObject *obs, Py_buffer *view) {
    const wanted w = {"obs", "float32", "f", 4, 0, 2, {-1, self->inputs}};
    return open_array(obs, &w, view);
}

static int open_int32(PyObject *out, Py_ssize_t rows, Py_ssize_t columns, Py_buffer *view) {
    const wanted w = {"out", "int32", "il", 4, 1, columns > 0 ? 2 : 1, {rows, columns}};
    return open_array(out, &w, view);
}

static int open_float32(PyObject *out, Py_ssize_t rows, Py_ssize_t columns, Py_buffer *view) {
    const wanted w = {"out", "float32", "f", 4, 1, 2, {rows, columns}};
    return open_array(out, &w, view);
}

static int has_two(const char *name, Py_ssize_t count) {
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "%s takes 2 arguments, not %zd", name, count);
    }
    return count == 2;
}

/* ------------------------------------------------------------------------------------- methods */

/* What a call of a deep policy works in: the spare one, or a new one where threads share it. */
static int take_work(policy *self, kernels_work **work) {
    *work = NULL;
    if (kernels_is_plain(self->net)) {
        return 0;
    }
    *work = self->spare;
    self->spare = NULL;
    if (*work == NULL) {
        *work = kernels_begin(self->net);
    }
    if (*work == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static void put_back(policy *self, kernels_work *work) {
    if (self->spare == NULL) {
        self->spare = work;
    } else {
        kernels_end(work);
    }
}

/* A policy with memory is stepped. */
static int has_no_memory(const policy *self) {
    if (self->memory_size > 0) {
        PyErr_SetString(PyExc_ValueError, "the policy has a memory; use step(memories, obs, out)");
    }
    return self->memory_size == 0;
}

/* Fill `to` with the action for one observation. */
static int act(policy *self, const observation *obs, void *to) {
    kernels_task of_floats = self->is_discrete ? KERNELS_ACT : KERNELS_ACT_CONTINUOUS;
    kernels_task of_integers = self->is_discrete ? KERNELS_ACT_Q : KERNELS_ACT_CONTINUOUS_Q;
    kernels_work *work;
    if (take_work(self, &work) != 0) {
        return -1;
    }
    if (obs->values != NULL) {
        kernels_run(self->net, work, of_floats, obs->values, NULL, to, 1);
    } else {
        kernels_run(self->net, work, of_integers, obs->own.integers, NULL, to, 1);
    }
    put_back(self, work);
    return 0;
}

static PyObject *act_discrete(policy *self, const observation *obs) {
    int32_t action;
    if (obs->values != NULL && kernels_is_plain(self->net)) {
        kernels_act(self->net, obs->values, &action);
    } else if (act(self, obs, &action) != 0) {
        return NULL;
    }
    return PyLong_FromLong(action);
}

static PyObject *act_continuous(policy *self, const observation *obs) {
    const wanted w = {"the new action", "float32", "f", 4, 1, 1, {self->outputs, 0}};
    Py_buffer view;
    PyObject *action = PyObject_CallNoArgs(self->new_action);
    if (action == NULL || open_array(action, &w, &view) != 0) {
        Py_XDECREF(action);
        return NULL;
    }
    if (act(self, obs, view.buf) != 0) {
        Py_CLEAR(action);
    }
    PyBuffer_Release(&view);
    return action;
}

static PyObject *policy_act(PyObject *object, PyObject *obs) {
    policy *self = (policy *)object;
    observation found;
    if (!self->is_discrete && self->new_action == NULL) {
        PyErr_SetString(PyExc_TypeError, "actions are continuous; Policy needs new_action");
        return NULL;
    }
    if (!has_no_memory(self) || open_observation(self, obs, &found) != 0) {
        return NULL;
    }
    PyObject *action =
        self->is_discrete ? act_discrete(self, &found) : act_continuous(self, &found);
    PyBuffer_Release(&found.view);
    return action;
}

/* Work without the GIL, then let the arrays go. `memories` is NULL without memory. */
static PyObject *run_and_close(policy *self, kernels_task what, Py_buffer *from,
                               Py_buffer *memories, Py_buffer *to) {
    size_t rows = (size_t)from->shape[0];
    const void *source = from->buf;
    void *target = to->buf, *memory = memories != NULL ? memories->buf : NULL;
    kernels_work *work;
    int status = take_work(self, &work);
    if (status == 0) {
        Py_BEGIN_ALLOW_THREADS
        kernels_run(self->net, work, what, source, memory, target, rows);
        Py_END_ALLOW_THREADS
        put_back(self, work);
    }
    PyBuffer_Release(from);
    PyBuffer_Release(to);
    if (memories != NULL) {
        PyBuffer_Release(memories);
    }
    if (status != 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* Open what actions, or logits, are written to. */
static int open_results(policy *self, kernels_task what, PyObject *out, Py_ssize_t rows,
                        Py_buffer *view) {
    if (what == KERNELS_ACT) {
        return open_int32(out, rows, 0, view);
    }
    if (what == KERNELS_ACT_CONTINUOUS) {
        return open_float32(out, rows, self->outputs, view);
    }
    return open_int32(out, rows, self->outputs, view);
}

static kernels_task action_of(const policy *self) {
    return self->is_discrete ? KERNELS_ACT : KERNELS_ACT_CONTINUOUS;
}

static int open_source(policy *self, kernels_task what, PyObject *from, Py_buffer *view) {
    const wanted w = {"q", "int8", "b", 1, 0, 2, {-1, self->inputs}};
    return what == KERNELS_LOGITS_Q ? open_array(from, &w, view) : open_rows(self, from, view);
}

/* The arguments of a step: memories, which change, rows, and what is written to. */
static PyObject *step(policy *self, kernels_task what, PyObject *const *arguments) {
    Py_buffer from, memories, to;
    if (open_source(self, what, arguments[1], &from) != 0) {
        return NULL;
    }
    const wanted w = {"memories", "int8", "b", 1, 1, 2, {from.shape[0], self->memory_size}};
    if (open_array(arguments[0], &w, &memories) != 0) {
        PyBuffer_Release(&from);
        return NULL;
    }
    if (open_results(self, what, arguments[2], from.shape[0], &to) != 0) {
        PyBuffer_Release(&from);
        PyBuffer_Release(&memories);
        return NULL;
    }
    return run_and_close(self, what, &from, &memories, &to);
}

static int has_three(const char *name, Py_ssize_t count) {
    if (count != 3) {
        PyErr_Format(PyExc_TypeError, "%s takes 3 arguments, not %zd", name, count);
    }
    return count == 3;
}

static PyObject *policy_step(PyObject *object, PyObject *const *arguments, Py_ssize_t count) {
    policy *self = (policy *)object;
    if (!has_three("step(memories, obs, out)", count)) {
        return NULL;
    }
    return step(self, action_of(self), arguments);
}

static PyObject *policy_step_logits_q(PyObject *object, PyObject *const *arguments,
                                      Py_ssize_t count) {
    policy *self = (policy *)object;
    if (!has_three("step_logits_q(memories, q, out)", count)) {
        return NULL;
    }
    return step(self, KERNELS_LOGITS_Q, arguments);
}

/* Rows and what is written to, of a policy without memory. */
static PyObject *run_batch(policy *self, kernels_task what, PyObject *const *arguments) {
    Py_buffer from, to;
    if (!has_no_memory(self) || open_source(self, what, arguments[0], &from) != 0) {
        return NULL;
    }
    if (open_results(self, what, arguments[1], from.shape[0], &to) != 0) {
        PyBuffer_Release(&from);
        return NULL;
    }
    return run_and_close(self, what, &from, NULL, &to);
}

static PyObject *policy_act_batch(PyObject *object, PyObject *const *arguments, Py_ssize_t count) {
    policy *self = (policy *)object;
    return has_two("act_batch(obs, out)", count) ? run_batch(self, action_of(self), arguments) : NULL;
}

static PyObject *policy_logits(PyObject *object, PyObject *const *arguments, Py_ssize_t count) {
    policy *self = (policy *)object;
    return has_two("logits(obs, out)", count) ? run_batch(self, KERNELS_LOGITS, arguments) : NULL;
}

static PyObject *policy_logits_q(PyObject *object, PyObject *const *arguments, Py_ssize_t count) {
    policy *self = (policy *)object;
    return has_two("logits_q(q, out)", count) ? run_batch(self, KERNELS_LOGITS_Q, arguments) : NULL;
}

static PyObject *policy_quantise(PyObject *object, PyObject *const *arguments, Py_ssize_t count) {
    policy *self = (policy *)object;
    Py_buffer obs, out;
    if (!has_two("quantise(obs, out)", count) || open_rows(self, arguments[0], &obs) != 0) {
        return NULL;
    }
    const wanted w = {"out", "int8", "b", 1, 1, 2, {obs.shape[0], self->inputs}};
    if (open_array(arguments[1], &w, &out) != 0) {
        PyBuffer_Release(&obs);
        return NULL;
    }
    return run_and_close(self, KERNELS_QUANTISE, &obs, NULL, &out);
}

/* ----------------------------------------------------------------------------------- the class */

static int set_up(policy *self, PyObject *data) {
    tvp_policy decoded;
    if (decode(data, &decoded) != 0) {
        tvp_free(&decoded);
        return -1;
    }
    int is_integer = decoded.is_integer;
    self->net = kernels_prepare(&decoded);
    self->inputs = decoded.obs_size;
    self->outputs = decoded.num_outputs;
    self->memory_size = decoded.memory_size;
    self->is_discrete = decoded.output_kind == TVP_DISCRETE;
    self->input_kind = decoded.input_kind;
    tvp_free(&decoded);
    if (!is_integer) {
        PyErr_SetString(PyExc_ValueError, "the policy computes with floats; NumPy runs those");
    } else if (self->net == NULL) {
        PyErr_NoMemory();
    }
    return self->net == NULL ? -1 : 0;
}

/* Return a new reference to a function, or NULL for None. */
static PyObject *function_or_null(PyObject *object) {
    PyObject *function = object == Py_None ? NULL : object;
    Py_XINCREF(function);
    return function;
}

static PyObject *policy_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"data", "convert", "new_action", NULL};
    PyObject *data, *convert = NULL, *new_action = NULL;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O|OO:Policy", names, &data, &convert,
                                     &new_action)) {
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    policy *self = (policy *)allocate(type, 0);
    if (self == NULL) {
        return NULL;
    }
    if (set_up(self, data) != 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->convert = function_or_null(convert);
    self->new_action = function_or_null(new_action);
    return (PyObject *)self;
}

static void policy_dealloc(PyObject *object) {
    policy *self = (policy *)object;
    PyTypeObject *type = Py_TYPE(object);
    kernels_end(self->spare);
    kernels_free(self->net);
    Py_XDECREF(self->convert);
    Py_XDECREF(self->new_action);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* The compiler is told that calling through another type is meant: that is how methods are kept. */
#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef policy_methods[] = {
    {"act", policy_act, METH_O, "act(obs): the action for one observation."},
    {"act_batch", FAST(policy_act_batch), METH_FASTCALL,
     "act_batch(obs, out): fill out with an action for each row; other threads run meanwhile."},
    {"logits", FAST(policy_logits), METH_FASTCALL, "logits(obs, out): the same for logits."},
    {"logits_q", FAST(policy_logits_q), METH_FASTCALL,
     "logits_q(q, out): the same for quantised observations, int8."},
    {"step", FAST(policy_step), METH_FASTCALL,
     "step(memories, obs, out): act_batch of a policy with memory; memories, int8, are changed."},
    {"step_logits_q", FAST(policy_step_logits_q), METH_FASTCALL,
     "step_logits_q(memories, q, out): the same for the logits of quantised observations."},
    {"quantise", FAST(policy_quantise), METH_FASTCALL, "quantise(obs, out): fill out, int8."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot policy_slots[] = {
    {Py_tp_doc, "Policy(data, convert=None, new_action=None): an integer policy of the bytes of a .tvp."},
    {Py_tp_new, policy_new},
    {Py_tp_dealloc, policy_dealloc},
    {Py_tp_methods, policy_methods},
    {0, NULL},
};

static PyType_Spec policy_spec = {
    "ternevo.deploy._native.Policy", sizeof(policy), 0, Py_TPFLAGS_DEFAULT, policy_slots,
};

static PyObject *native_check(PyObject *module, PyObject *data) {
    tvp_policy decoded;
    (void)module;
    int status = decode(data, &decoded);
    tvp_free(&decoded);
    if (status != 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"check", native_check, METH_O,
     "check(data): raise PolicyFormatError unless the bytes are a policy file."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "ternevo.deploy._native", "Policy files in C: see runtime.py.", -1,
    functions, NULL, NULL, NULL, NULL,
};

static int choose_kernel(void) {
    const char *name = getenv("TERNEVO_KERNEL");
    name = name != NULL && *name != '\0' ? name : NULL;
    if (kernels_choose(name) != 0) {
        PyErr_Format(PyExc_ValueError,
                     "TERNEVO_KERNEL=%s: this machine has no such kernel; of portable, avx2 and "
                     "avx512 it has portable and those that its processor can run",
                     name);
        return -1;
    }
    return 0;
}

PyMODINIT_FUNC PyInit__native(void) {
    if (choose_kernel() != 0) {
        return NULL;
    }
    PyObject *module = PyModule_Create(&definition);
    PyObject *type = module ? PyType_FromSpec(&policy_spec) : NULL;
    int status = type ? PyModule_AddObjectRef(module, "Policy", type) : -1;
    if (status == 0) {
        status = PyModule_AddStringConstant(module, "kernel", kernels_name());
    }
    Py_XDECREF(type);
    if (status != 0) {
        Py_CLEAR(module);
    }
    return module;
}
