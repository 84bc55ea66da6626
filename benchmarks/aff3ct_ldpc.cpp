/* SPDX-License-Identifier: GPL-3.0-or-later */
// LDPC decoders of aff3ct behind a C interface, for rivals.py; build_rivals.sh compiles
// it.

#include <Module/Decoder/LDPC/BP/Horizontal_layered/Decoder_LDPC_BP_horizontal_layered_inter.hpp>
#include <Tools/Algo/Matrix/Sparse_matrix/Sparse_matrix.hpp>
#include <Tools/Code/LDPC/Update_rule/NMS/Update_rule_NMS_simd.hpp>
#include <Tools/Code/LDPC/Update_rule/OMS/Update_rule_OMS_simd.hpp>
#include <Tools/Code/LDPC/Update_rule/SPA/Update_rule_SPA_simd.hpp>

#include <cstdint>
#include <numeric>

namespace {

using namespace aff3ct;
using floats = module::Decoder_SIHO<int32_t, float>;
using shorts = module::Decoder_SIHO<int16_t, int16_t>;
using bytes = module::Decoder_SIHO<int8_t, int8_t>;

// The message has to stand in the first k bits.
template <class Bit, class Llr, class Rule>
module::Decoder_SIHO<Bit, Llr>*
make(int k, const tools::Sparse_matrix& checks, int iterations, const Rule& rule)
{
    std::vector<unsigned> message(k);
    std::iota(message.begin(), message.end(), 0u);
    auto* made = new module::Decoder_LDPC_BP_horizontal_layered_inter<Bit, Llr, Rule>(
        k, int(checks.get_n_rows()), iterations, checks, message, rule);
    made->set_n_frames(made->get_n_frames_per_wave());
    return made;
}

} // namespace

extern "C" {

// rule: 0 sum-product, 1 min-sum scaled by 0.8, both in floats; 2 offset min-sum in
// bytes.
void* aff3ct_make(int rule,
                  int k,
                  int n,
                  int checks,
                  const int* check_of,
                  const int* bit_of,
                  int edges,
                  int iterations)
{
    tools::Sparse_matrix h(n, checks);
    for (int i = 0; i < edges; ++i)
        h.add_connection(bit_of[i], check_of[i]);
    const auto degree = unsigned(h.get_cols_max_degree());
    if (rule == 0)
        return make<int32_t, float>(
            k, h, iterations, tools::Update_rule_SPA_simd<float>(degree));
    if (rule == 1)
        return make<int32_t, float>(
            k, h, iterations, tools::Update_rule_NMS_simd<float>(0.8f));
    if (rule == 2)
        return make<int16_t, int16_t>(
            k, h, iterations, tools::Update_rule_NMS_simd<int16_t, 6>(0.75f));
    return make<int8_t, int8_t>(k, h, iterations, tools::Update_rule_OMS_simd<int8_t>(1));
}

int aff3ct_frames(void* decoder, int rule)
{
    if (rule < 2)
        return int(static_cast<floats*>(decoder)->get_n_frames());
    if (rule == 2)
        return int(static_cast<shorts*>(decoder)->get_n_frames());
    return int(static_cast<bytes*>(decoder)->get_n_frames());
}

// aff3ct_frames words at once; an LLR above 0 is a 0.
void aff3ct_decode_floats(void* decoder, const float* llrs, int32_t* bits)
{
    static_cast<floats*>(decoder)->decode_siho(llrs, bits, -1, false);
}

void aff3ct_decode_shorts(void* decoder, const int16_t* llrs, int16_t* bits)
{
    static_cast<shorts*>(decoder)->decode_siho(llrs, bits, -1, false);
}

void aff3ct_decode_bytes(void* decoder, const int8_t* llrs, int8_t* bits)
{
    static_cast<bytes*>(decoder)->decode_siho(llrs, bits, -1, false);
}
}
