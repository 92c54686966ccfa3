// What the kernels of the gradient of attention are told.
#pragma once
#include "attention/tile.cuh"

struct Arguments {
    View query, key, value, grad_output;
    View output, lse, grad_lse;  // the last two have one column
    whole output_type, lse_type, grad_lse_type;
    Options options;
    void *sum, *delta; // (batch, heads, queries) of the type of the arithmetic: lse, and ⟨dO, o⟩ − dlse
    void *grad_query, *grad_key, *grad_value, *to_bias, *grad_sink;  // contiguous
    const void* sink;  // (heads) in the type of the arithmetic
    whole batches, heads, group, queries, keys, dim, columns;
    whole bias_batches, bias_heads, bias_queries, bias_keys;
};
