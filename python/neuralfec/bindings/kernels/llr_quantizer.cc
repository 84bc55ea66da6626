/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/llr_quantizer.h"

#include "arrays.h"

namespace gr::neuralfec {

namespace {

using layers = std::vector<std::pair<array<float>, array<float>>>;

std::vector<dense_layer> make_layers(const layers& of)
{
    std::vector<dense_layer> dense;
    for (const auto& [weights, bias] : of) {
        if (weights.ndim() != 2 || bias.ndim() != 1 || weights.shape(0) != bias.shape(0))
            throw std::invalid_argument(
                "expected weights (outputs, inputs) and biases (outputs,)");
        const auto w = view(weights);
        const auto b = view(bias);
        dense.push_back({static_cast<std::size_t>(weights.shape(1)),
                         {w.begin(), w.end()},
                         {b.begin(), b.end()}});
    }
    return dense;
}

llr_network
make_network(std::size_t bits_per_symbol, const std::string& feature, const layers& of)
{
    llr_feature what;
    if (feature == "llr")
        what = llr_feature::llr;
    else if (feature == "soft bit")
        what = llr_feature::soft_bit;
    else
        throw std::invalid_argument("expected feature 'llr' or 'soft bit', got '" +
                                    feature + "'");
    return llr_network(bits_per_symbol, what, make_layers(of));
}

array<float> matrix(const std::vector<float>& values, std::size_t columns)
{
    array<float> a({values.size() / columns, columns});
    std::copy(values.begin(), values.end(), a.mutable_data());
    return a;
}

} // namespace

void bind_llr_quantizer(py::module& m)
{
    py::class_<llr_network>(m, "LlrNetwork")
        .def(py::init(&make_network),
             py::arg("bits_per_symbol"),
             py::arg("feature"),
             py::arg("layers"),
             "feature: 'llr' or 'soft bit'; layers: (weights float32 (outputs, inputs), "
             "bias (outputs,)) of each.");
    py::class_<rail_network>(m, "RailNetwork")
        .def(py::init([](std::size_t rail_bits, const layers& of) {
                 return rail_network(rail_bits, make_layers(of));
             }),
             py::arg("rail_bits"),
             py::arg("layers"),
             "Network that treats both rails alike; layers: (weights float32 (outputs, 2 "
             "inputs), (A B) of a rail, bias (outputs,)) of each.");

    py::class_<cell_codebook>(m, "CellCodebook")
        .def(py::init<std::size_t,
                      unsigned,
                      const std::vector<uint32_t>&,
                      const std::vector<float>&>(),
             py::arg("bits_per_symbol"),
             py::arg("bits"),
             py::arg("levels"),
             py::arg("table"))
        .def(
            "rows",
            [](const cell_codebook& c) { return matrix(c.rows(), c.bits_per_symbol()); },
            "float32 (2^(N_b - 2), K): the table of SymbolDequantizer, folded.");

    py::class_<symbol_quantizer, std::shared_ptr<symbol_quantizer>>(m, "SymbolQuantizer")
        .def_property_readonly("bits_per_symbol", &symbol_quantizer::bits_per_symbol)
        .def_property_readonly("bits", &symbol_quantizer::bits)
        .def(
            "quantize",
            [](const symbol_quantizer& quantizer, const array<float>& llrs) {
                if (llrs.ndim() != 2 ||
                    llrs.shape(1) != py::ssize_t(quantizer.bits_per_symbol()))
                    throw std::invalid_argument(
                        "expected LLRs of shape (symbols, " +
                        std::to_string(quantizer.bits_per_symbol()) + ")");
                array<uint32_t> indices(llrs.shape(0));
                const auto in = view(llrs);
                const auto out = mutable_view(indices);
                std::size_t bad_samples;
                {
                    py::gil_scoped_release release;
                    bad_samples = quantizer.quantize(in, out);
                }
                return py::make_tuple(indices, bad_samples);
            },
            py::arg("llrs"),
            "Indices uint32 (N,) of LLRs float32 (N, K), and the number of NaN, "
            "which count as 0.");
    py::class_<latent_quantizer, symbol_quantizer, std::shared_ptr<latent_quantizer>>(
        m, "LatentQuantizer")
        .def(py::init<const llr_network&, const std::vector<std::vector<float>>&>(),
             py::arg("network"),
             py::arg("thresholds"));
    py::class_<cell_quantizer, symbol_quantizer, std::shared_ptr<cell_quantizer>>(
        m, "CellQuantizer")
        .def(py::init<const rail_network&, const cell_codebook&>(),
             py::arg("network"),
             py::arg("codebook"));
    py::class_<cell_search, symbol_quantizer, std::shared_ptr<cell_search>>(m,
                                                                            "CellSearch")
        .def(py::init<const cell_codebook&>(), py::arg("codebook"));

    py::class_<symbol_dequantizer, std::shared_ptr<symbol_dequantizer>>(
        m, "SymbolDequantizer")
        .def(py::init([](std::size_t bits_per_symbol,
                         unsigned bits,
                         bool folded,
                         const array<float>& rows) {
                 const auto r = view(rows);
                 return symbol_dequantizer(bits_per_symbol,
                                           bits,
                                           folded,
                                           std::vector<float>(r.begin(), r.end()));
             }),
             py::arg("bits_per_symbol"),
             py::arg("bits"),
             py::arg("folded"),
             py::arg("rows"))
        .def_property_readonly_static(
            "max_bits",
            [](const py::object&) { return unsigned(symbol_dequantizer::max_bits); })
        .def(
            "dequantize",
            [](const symbol_dequantizer& dequantizer, const array<uint32_t>& indices) {
                array<float> llrs(
                    {std::size_t(indices.size()), dequantizer.bits_per_symbol()});
                const auto in = view(indices);
                const auto out = mutable_view(llrs);
                {
                    py::gil_scoped_release release;
                    dequantizer.dequantize(in, out);
                }
                return llrs;
            },
            py::arg("indices"),
            "LLRs float32 (N, K) of indices uint32 (N,).");

    m.def(
        "pack_bits",
        [](const array<uint32_t>& indices, unsigned bits) {
            if (bits < 1 || bits > 32)
                throw std::invalid_argument("expected 1 to 32 bits an index, got " +
                                            std::to_string(bits));
            array<uint8_t> packed(packed_size(indices.size(), bits));
            pack_bits(view(indices), bits, mutable_view(packed));
            return packed;
        },
        py::arg("indices"),
        py::arg("bits"),
        "uint8: the low bits of each index one behind the other, most significant "
        "first.");
    m.def(
        "unpack_bits",
        [](const array<uint8_t>& packed, unsigned bits, std::size_t count) {
            array<uint32_t> indices(count);
            unpack_bits(view(packed), bits, mutable_view(indices));
            return indices;
        },
        py::arg("packed"),
        py::arg("bits"),
        py::arg("count"),
        "Undoes pack_bits: uint32 (count,).");
}

} // namespace gr::neuralfec
