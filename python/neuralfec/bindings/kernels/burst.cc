/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/burst_receiver.h"
#include "kernels/burst_search.h"

#include "arrays.h"

#include <pybind11/complex.h>

namespace gr::neuralfec {

namespace {

using complex = std::complex<float>;

array<complex> copy(const std::vector<complex>& v)
{
    return array<complex>(v.size(), v.data());
}

py::dict as_dict(const burst_estimate& e)
{
    py::dict d;
    d["y"] = copy(e.y);
    d["h"] = copy(e.h);
    d["noise_var"] = e.noise_var;
    d["cfo"] = e.cfo;
    d["clock_offset"] = e.clock_offset;
    d["snr"] = e.snr;
    d["evm"] = e.evm;
    d["power"] = e.power;
    d["whole"] = e.whole;
    d["residual"] = array<float>(e.residual.size(), e.residual.data());
    d["channel"] = copy(e.channel);
    return d;
}

py::dict as_dict(const received_burst& b)
{
    py::dict d = as_dict(static_cast<const burst_estimate&>(b));
    d["user"] = b.header.user;
    d["symbols"] = b.header.symbols;
    d["start"] = b.start;
    d["length"] = b.length;
    d["window"] = b.window;
    d["metric"] = b.metric;
    return d;
}

front_end_offsets offsets_of(std::complex<double> dc, std::complex<double> image)
{
    front_end_offsets o;
    o.dc = dc;
    o.image = image;
    return o;
}

} // namespace

void bind_burst(py::module& m)
{
    py::class_<burst_format>(m, "BurstFormat")
        .def(py::init([](const py::kwargs& numbers) {
            burst_format f;
            f.fft_length = numbers["fft_length"].cast<std::size_t>();
            f.cyclic_prefix = numbers["cyclic_prefix"].cast<std::size_t>();
            f.subcarriers = numbers["subcarriers"].cast<std::vector<int>>();
            f.pilots = numbers["pilots"].cast<std::size_t>();
            f.pilot_step = numbers["pilot_step"].cast<std::size_t>();
            f.pilot_values = numbers["pilot_values"].cast<std::vector<float>>();
            f.scrambling = numbers["scrambling"].cast<std::vector<complex>>();
            f.short_period = numbers["short_period"].cast<std::size_t>();
            f.short_signs = numbers["short_signs"].cast<std::vector<float>>();
            f.training_prefix = numbers["training_prefix"].cast<std::size_t>();
            f.training = numbers["training"].cast<std::vector<complex>>();
            f.header_symbols = numbers["header_symbols"].cast<std::size_t>();
            f.header_order = numbers["header_order"].cast<std::vector<uint32_t>>();
            f.header_information_set =
                numbers["header_information_set"].cast<std::vector<uint32_t>>();
            f.identity = numbers["identity"].cast<uint16_t>();
            f.max_symbols = numbers["max_symbols"].cast<std::size_t>();
            f.max_cfo = numbers["max_cfo"].cast<double>();
            f.check();
            return f;
        }))
        .def("length", &burst_format::length, py::arg("symbols"));

    py::class_<burst_search>(m, "BurstSearch")
        .def(py::init<const burst_format&, double>(),
             py::arg("format"),
             py::arg("threshold"))
        .def(
            "metric",
            [](const burst_search& self, const array<complex>& samples) {
                std::vector<float> values;
                const auto in = view(samples);
                {
                    py::gil_scoped_release release;
                    values = self.metric(in);
                }
                return array<float>(values.size(), values.data());
            },
            py::arg("samples"),
            "The metric of each sample that a whole preamble may begin with, float32.")
        .def(
            "search",
            [](const burst_search& self, const array<complex>& samples) {
                const auto in = view(samples);
                burst_search::outcome outcome;
                {
                    py::gil_scoped_release release;
                    outcome = self.search(in);
                }
                py::object found = py::none();
                if (outcome.found) {
                    py::dict d;
                    d["preamble"] = outcome.found->preamble;
                    d["window"] = outcome.found->window;
                    d["cfo"] = outcome.found->cfo;
                    d["metric"] = outcome.found->metric;
                    d["concentration"] = outcome.found->concentration;
                    found = d;
                }
                return py::make_tuple(outcome.searched, found);
            },
            py::arg("samples"),
            "How many samples need not be looked at again, and the first candidate (a "
            "dict of\n"
            "preamble, window, cfo, metric, concentration) or None.");

    py::class_<burst_demodulator>(m, "BurstDemodulator")
        .def(py::init<const burst_format&>(), py::arg("format"))
        .def("reach", &burst_demodulator::reach, py::arg("symbols"))
        .def(
            "header",
            [](const burst_demodulator& self,
               const array<complex>& samples,
               double cfo,
               std::complex<double> dc,
               std::complex<double> image) -> py::object {
                const auto h = self.header(view(samples), cfo, offsets_of(dc, image));
                if (!h)
                    return py::none();
                py::dict d;
                d["symbols"] = h->symbols;
                d["user"] = h->user;
                d["cfo"] = cfo;
                return d;
            },
            py::arg("samples"),
            py::arg("cfo"),
            py::arg("dc") = 0,
            py::arg("image") = 0,
            "symbols, user and the refined cfo of a header that holds, or None.")
        .def(
            "demodulate",
            [](const burst_demodulator& self,
               const array<complex>& samples,
               double cfo,
               std::size_t symbols,
               uint64_t user,
               std::complex<double> dc,
               std::complex<double> image,
               const array<complex>& known) {
                const auto in = view(samples);
                const auto pilots = view(known);
                burst_header header;
                header.symbols = symbols;
                header.user = user;
                burst_estimate e;
                {
                    py::gil_scoped_release release;
                    e = self.demodulate(in, cfo, header, offsets_of(dc, image), pilots);
                }
                return as_dict(e);
            },
            py::arg("samples"),
            py::arg("cfo"),
            py::arg("symbols"),
            py::arg("user"),
            py::arg("dc") = 0,
            py::arg("image") = 0,
            py::arg("known") = array<complex>(0),
            "A burst's symbols and estimates, a dict; samples from its first training\n"
            "window on. symbols and user are the header's.");

    py::class_<burst_receiver>(m, "BurstReceiver")
        .def(py::init<const burst_format&, double, double>(),
             py::arg("format"),
             py::arg("threshold"),
             py::arg("false_refusals"))
        .def(
            "push",
            [](burst_receiver& self, const array<complex>& samples) {
                const auto in = view(samples);
                std::vector<received_burst> bursts;
                {
                    py::gil_scoped_release release;
                    self.push(in, bursts);
                }
                py::list out;
                for (const auto& b : bursts)
                    out.append(as_dict(b));
                return out;
            },
            py::arg("samples"),
            "Dicts of the bursts that these samples complete.")
        .def("gap", &burst_receiver::gap, py::arg("missing") = 0)
        .def("offsets",
             [](const burst_receiver& self) {
                 const auto o = self.offsets();
                 return py::make_tuple(o.dc, o.image);
             })
        .def("stats", &burst_receiver::stats);
}

} // namespace gr::neuralfec
