/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/belief_code.h"

#include "arrays.h"

namespace gr::neuralfec {

namespace {

py::array_t<float> rows_of(const std::vector<float>& values, const belief_table& table)
{
    return py::array_t<float>({table.capacity, table.patterns}, values.data());
}

} // namespace

void bind_belief_code(py::module& m)
{
    py::class_<belief_table>(
        m,
        "belief_table",
        "Beliefs of `capacity` groups, a row each, over `patterns` classes: float32\n"
        "log_ratios to the likeliest class, sorted; uint8 classes; float32 candidates.\n"
        "The arrays are copies.")
        .def(py::init<std::size_t, std::size_t>(),
             py::arg("patterns"),
             py::arg("capacity"))
        .def_readonly("patterns", &belief_table::patterns)
        .def_readonly("capacity", &belief_table::capacity)
        .def_property_readonly(
            "log_ratios", [](const belief_table& t) { return rows_of(t.log_ratios, t); })
        .def_property_readonly("classes",
                               [](const belief_table& t) {
                                   return rows_of(t.classes, t).attr("astype")("uint8");
                               })
        .def_property_readonly(
            "candidates", [](const belief_table& t) { return rows_of(t.candidates, t); })
        .def(
            "decisions",
            [](const belief_table& t, const array<uint32_t>& rows) {
                py::array_t<uint8_t> out(rows.size());
                for (py::ssize_t i = 0; i < rows.size(); i++) {
                    if (rows.data()[i] >= t.capacity)
                        throw std::invalid_argument("belief_table: expected rows below " +
                                                    std::to_string(t.capacity) +
                                                    ", got " +
                                                    std::to_string(rows.data()[i]));
                    out.mutable_data()[i] =
                        static_cast<uint8_t>(t.classes[rows.data()[i] * t.patterns]);
                }
                return out;
            },
            py::arg("rows"),
            "The likeliest class of each row, uint8.");

    py::class_<belief_code>(
        m,
        "belief_code",
        "The belief-driven feedback code: the same bits on every machine and SIMD "
        "target.\n"
        "parameters: float32, layer1.weight, layer1.bias, layer2.weight, ... of\n"
        "feedback.belief.BeliefNetwork with the scale of the inputs in layer1. "
        "ValueError "
        "on\n"
        "sizes that do not fit.")
        .def(py::init([](std::size_t group_bits,
                         std::size_t hidden1,
                         std::size_t hidden2,
                         float noise_variance,
                         float peak,
                         float snr_db,
                         std::size_t feedback_bits,
                         float feedback_step,
                         const array<float>& parameters) {
                 return belief_code({group_bits,
                                     hidden1,
                                     hidden2,
                                     noise_variance,
                                     peak,
                                     snr_db,
                                     feedback_bits,
                                     feedback_step},
                                    view(parameters));
             }),
             py::kw_only(),
             py::arg("group_bits"),
             py::arg("hidden1"),
             py::arg("hidden2"),
             py::arg("noise_variance"),
             py::arg("peak"),
             py::arg("snr_db"),
             py::arg("feedback_bits"),
             py::arg("feedback_step"),
             py::arg("parameters"))
        .def(
            "start",
            [](const belief_code& code,
               belief_table& table,
               const array<uint32_t>& rows) { code.start(table, view(rows)); },
            py::arg("table"),
            py::arg("rows"),
            "Uniform beliefs.")
        .def(
            "propose",
            [](const belief_code& code,
               belief_table& table,
               const array<uint32_t>& rows,
               const array<uint8_t>& left,
               float threshold,
               float gain) {
                const auto r = view(rows);
                const auto l = view(left);
                py::gil_scoped_release release;
                code.propose(table, r, l, threshold, gain);
            },
            py::arg("table"),
            py::arg("rows"),
            py::arg("left"),
            py::arg("threshold"),
            py::arg("gain"),
            "Candidates of the next round; left: uint8 rounds left, it included.")
        .def(
            "symbols",
            [](const belief_code& code,
               const belief_table& table,
               const array<uint32_t>& rows,
               const array<uint8_t>& classes) {
                array<float> out(rows.size());
                code.symbols(table, view(rows), view(classes), mutable_view(out));
                return out;
            },
            py::arg("table"),
            py::arg("rows"),
            py::arg("classes"),
            "The candidate of each row's true class, float32.")
        .def(
            "quantize",
            [](const belief_code& code, const array<float>& received) {
                array<uint8_t> levels(received.size());
                code.quantize(view(received), mutable_view(levels));
                return levels;
            },
            py::arg("received"),
            "Levels uint8 of received symbols; 0 for NaN.")
        .def(
            "update",
            [](const belief_code& code,
               belief_table& table,
               const array<uint32_t>& rows,
               const array<uint8_t>& levels,
               float threshold) {
                array<uint8_t> stopped(rows.size());
                array<float> odds(rows.size());
                const auto r = view(rows);
                const auto l = view(levels);
                const auto s = mutable_view(stopped);
                const auto o = mutable_view(odds);
                {
                    py::gil_scoped_release release;
                    code.update(table, r, l, threshold, s, o);
                }
                return py::make_tuple(stopped.attr("view")("bool"), odds);
            },
            py::arg("table"),
            py::arg("rows"),
            py::arg("levels"),
            py::arg("threshold"),
            "Bayes' rule. Returns stopped (bool) and (1 - p_max) / p_max (float32) a "
            "row.");
}

} // namespace gr::neuralfec
