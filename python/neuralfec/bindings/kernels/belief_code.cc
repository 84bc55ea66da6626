/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/belief_code.h"

#include "arrays.h"

namespace gr::neuralfec {

namespace {

py::array_t<float>
rows_of(const std::vector<float>& values, const belief_table& t, std::size_t symbols = 1)
{
    return py::array_t<float>({t.blocks, t.groups, symbols * t.patterns}, values.data());
}

} // namespace

void bind_belief_code(py::module& m)
{
    py::class_<belief_table>(
        m,
        "belief_table",
        "Beliefs of `blocks` blocks of `groups` groups over `patterns` classes. Copies,\n"
        "(blocks, groups, patterns): float32 log_ratios to the likeliest class, sorted;\n"
        "uint8 classes; float32 candidates, those of a second symbol after those of the\n"
        "first. Views, (blocks, groups): bool decided, and float32 odds,\n"
        "(1 - p_max) / p_max after the last update.")
        .def(py::init<std::size_t, std::size_t, std::size_t, std::size_t>(),
             py::arg("patterns"),
             py::arg("groups"),
             py::arg("blocks"),
             py::arg("symbols") = 1)
        .def_property_readonly(
            "log_ratios", [](const belief_table& t) { return rows_of(t.log_ratios, t); })
        .def_property_readonly("classes",
                               [](const belief_table& t) {
                                   return rows_of(t.classes, t).attr("astype")("uint8");
                               })
        .def_property_readonly(
            "candidates",
            [](const belief_table& t) { return rows_of(t.candidates, t, t.symbols); })
        .def_property_readonly(
            "odds",
            [](const py::object& self) {
                auto& t = self.cast<belief_table&>();
                return py::array_t<float>({t.blocks, t.groups}, t.odds.data(), self);
            })
        .def_property_readonly(
            "decided",
            [](const py::object& self) {
                auto& t = self.cast<belief_table&>();
                return py::array_t<uint8_t>({t.blocks, t.groups}, t.decided.data(), self)
                    .attr("view")("bool");
            })
        .def(
            "decisions",
            [](const belief_table& t, const array<uint32_t>& blocks) {
                const auto n = static_cast<std::size_t>(blocks.size());
                py::array_t<uint8_t> out({n, t.groups});
                for (std::size_t i = 0; i < n * t.groups; i++) {
                    const std::size_t block = blocks.data()[i / t.groups];
                    if (block >= t.blocks)
                        throw std::invalid_argument(
                            "belief_table: expected blocks below " +
                            std::to_string(t.blocks) + ", got " + std::to_string(block));
                    const std::size_t row = block * t.groups + i % t.groups;
                    out.mutable_data()[i] =
                        static_cast<uint8_t>(t.classes[row * t.patterns]);
                }
                return out;
            },
            py::arg("blocks"),
            "The likeliest class of each group, uint8.");

    py::class_<belief_code>(
        m,
        "belief_code",
        "The belief-driven feedback code: the same bits on every machine and SIMD "
        "target.\n"
        "parameters: float32, layer1.weight, layer1.bias, layer2.weight, ... of\n"
        "feedback.belief.network.BeliefNetwork with the scale of the inputs in layer1. "
        "ValueError "
        "on\n"
        "sizes that do not fit.")
        .def(py::init([](std::size_t group_bits,
                         std::size_t hidden1,
                         std::size_t hidden2,
                         float peak,
                         std::size_t feedback_bits,
                         float feedback_step,
                         const array<float>& parameters,
                         std::size_t symbols) {
                 return belief_code({group_bits,
                                     hidden1,
                                     hidden2,
                                     peak,
                                     feedback_bits,
                                     feedback_step,
                                     symbols},
                                    view(parameters));
             }),
             py::kw_only(),
             py::arg("group_bits"),
             py::arg("hidden1"),
             py::arg("hidden2"),
             py::arg("peak"),
             py::arg("feedback_bits"),
             py::arg("feedback_step"),
             py::arg("parameters"),
             py::arg("symbols") = 1)
        .def(
            "start",
            [](const belief_code& code,
               belief_table& table,
               const array<uint32_t>& blocks) { code.start(table, view(blocks)); },
            py::arg("table"),
            py::arg("blocks"),
            "Uniform beliefs, nothing decided.")
        .def(
            "propose",
            [](const belief_code& code,
               belief_table& table,
               const array<uint32_t>& blocks,
               const array<uint8_t>& left,
               float threshold,
               float gain,
               float snr_db) {
                const auto b = view(blocks);
                const auto l = view(left);
                py::gil_scoped_release release;
                code.propose(table, b, l, threshold, gain, snr_db);
            },
            py::arg("table"),
            py::arg("blocks"),
            py::arg("left"),
            py::arg("threshold"),
            py::arg("gain"),
            py::arg("snr_db"),
            "Candidates of the next round for groups not decided; left: uint8 rounds\n"
            "left of each block, it included; snr_db: what the network is told of the\n"
            "channel.")
        .def(
            "symbols",
            [](const belief_code& code,
               const belief_table& table,
               const array<uint32_t>& blocks,
               const array<uint8_t>& classes) {
                array<float> out({static_cast<std::size_t>(blocks.size()),
                                  table.groups * table.symbols});
                code.symbols(table, view(blocks), view(classes), mutable_view(out));
                return out;
            },
            py::arg("table"),
            py::arg("blocks"),
            py::arg("classes"),
            "The candidates of each group's true class, float32 (blocks, symbols x\n"
            "groups); 0 if it is decided.")
        .def(
            "quantize",
            [](const belief_code& code, const array<float>& received) {
                const py::array& given = received;
                array<uint8_t> levels(std::vector<py::ssize_t>(
                    given.shape(), given.shape() + given.ndim()));
                code.quantize(view(received), mutable_view(levels));
                return levels;
            },
            py::arg("received"),
            "Levels uint8 of received symbols; 0 for NaN.")
        .def(
            "update",
            [](const belief_code& code,
               belief_table& table,
               const array<uint32_t>& blocks,
               const array<float>& received,
               const array<float>& variances,
               float threshold) {
                const auto b = view(blocks);
                const auto y = view(received);
                const auto v = view(variances);
                py::gil_scoped_release release;
                code.update(table, b, y, v, threshold);
            },
            py::arg("table"),
            py::arg("blocks"),
            py::arg("received"),
            py::arg("variances"),
            py::arg("threshold"),
            "Bayes' rule for groups not decided. received and variances: (blocks,\n"
            "symbols x groups) float32, NaN where nothing arrived, and the noise "
            "variance\n"
            "of each symbol.\n"
            "Sets the table's odds and decided.")
        .def(
            "choose",
            [](const belief_code& code,
               const belief_table& table,
               const array<uint32_t>& blocks,
               py::array_t<float, py::array::c_style>& posterior,
               const array<float>& received,
               const array<float>& noise,
               const array<float>& tracking,
               float price) {
                const std::size_t n = static_cast<std::size_t>(blocks.size());
                array<int8_t> numbers({n, table.groups});
                array<float> odds({n, table.groups});
                const auto b = view(blocks);
                const auto y = view(received);
                const auto v = view(noise);
                const auto w = view(tracking);
                const auto i = mutable_view(numbers);
                const auto o = mutable_view(odds);
                std::fill_n(i.data(), i.size(), int8_t(0));
                std::fill_n(o.data(), o.size(), 0.0f);
                const span<float> l(posterior.mutable_data(),
                                    static_cast<std::size_t>(posterior.size()));
                {
                    py::gil_scoped_release release;
                    code.choose(table, b, l, y, v, w, price, i, o);
                }
                return py::make_tuple(numbers, odds);
            },
            py::arg("table"),
            py::arg("blocks"),
            py::arg("posterior").noconvert(),
            py::arg("received"),
            py::arg("noise"),
            py::arg("tracking"),
            py::arg("price"),
            "What goes back where the table is tracked by numbers alone: (numbers int8,\n"
            "odds float32), (blocks, groups), 0 for groups that are decided, whose\n"
            "posterior is left alone. posterior: of the whole table, (all blocks, "
            "groups,\n"
            "patterns) float32, log-ratios by class, which it updates by received, NaN\n"
            "where nothing arrived, of variances noise. tracking: those of the table's\n"
            "update, which is left to the caller; price: mu of feedback.belief.analog.");
}

} // namespace gr::neuralfec
