/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#ifdef NEURALFEC_SOAPY
#include <gnuradio/neuralfec/soapy_sink.h>
#include <gnuradio/neuralfec/soapy_source.h>
#endif

namespace py = pybind11;

namespace gr::neuralfec {

#ifdef NEURALFEC_SOAPY

namespace {

soapy_settings settings_of(double sample_rate,
                           double frequency,
                           const std::optional<double>& gain,
                           const std::string& antenna,
                           double bandwidth,
                           double lo_offset,
                           const std::string& clock_source,
                           const std::string& time_source,
                           double ppm)
{
    if (!(sample_rate > 0))
        throw std::invalid_argument("expected a rate > 0 samples/s, got " +
                                    std::to_string(sample_rate));
    return {sample_rate,
            frequency,
            gain,
            antenna,
            bandwidth,
            lo_offset,
            clock_source,
            time_source,
            ppm};
}

template <class Block>
using bound_block =
    py::class_<Block, gr::sync_block, gr::block, gr::basic_block, std::shared_ptr<Block>>;

// More: types of the arguments behind those of the device, each with its py::arg.
template <class Block, class... More, class... Arguments>
bound_block<Block>
bind_device(py::module& m, const char* name, const char* text, Arguments... arguments)
{
    bound_block<Block> bound(m, name);
    bound
        .def(py::init([](const std::string& device,
                         double sample_rate,
                         double frequency,
                         const std::optional<double>& gain,
                         const std::string& antenna,
                         double bandwidth,
                         double lo_offset,
                         const std::string& clock_source,
                         const std::string& time_source,
                         double ppm,
                         More... more) {
                 return Block::make(device,
                                    settings_of(sample_rate,
                                                frequency,
                                                gain,
                                                antenna,
                                                bandwidth,
                                                lo_offset,
                                                clock_source,
                                                time_source,
                                                ppm),
                                    more...);
             }),
             py::arg("device"),
             py::arg("sample_rate") = 1e6,
             py::arg("frequency") = 0.0,
             py::arg("gain") = py::none(),
             py::arg("antenna") = "",
             py::arg("bandwidth") = 0.0,
             py::arg("lo_offset") = 0.0,
             py::arg("clock_source") = "",
             py::arg("time_source") = "",
             py::arg("ppm") = 0.0,
             arguments...,
             text)
        .def("error",
             &Block::error,
             "Return why the block has ended by itself, \"\" where it has not.")
        .def("timed", &Block::timed, "Tell whether the device keeps time.")
        .def("time", &Block::time, "Return the device's time in seconds, 0 for none.");
    return bound;
}

} // namespace

void bind_soapy(py::module& m)
{
    bind_device<soapy_source>(
        m,
        "soapy_source",
        "Samples of a SoapySDR device, complex, with a tag rx_time on the first and "
        "behind\n"
        "each gap.\n\n"
        "device: SoapySDR's arguments, \"driver=rtlsdr\".\n"
        "sample_rate: samples/s.\n"
        "frequency, bandwidth, lo_offset: Hz; 0 leaves what the device has.\n"
        "gain: dB; None leaves it.\n"
        "antenna, clock_source, time_source: by the device's names; \"\" leaves "
        "them.\n"
        "ppm: correction of the oscillator.\n"
        "RuntimeError where the device is not there, is busy, or cannot be set so.")
        .def("stats", &soapy_source::stats, "Count samples, overflows and gaps.");
    bind_device<soapy_sink, std::size_t>(
        m,
        "soapy_sink",
        "Samples to a SoapySDR device. A tag packet_len begins a burst, which is "
        "handed over\n"
        "as a whole, with its end marked, at the time of its tag tx_time where it "
        "has one and\n"
        "the device keeps time; what is in no burst streams.\n\n"
        "device: SoapySDR's arguments, \"driver=lime\".\n"
        "sample_rate: samples/s.\n"
        "frequency, bandwidth, lo_offset: Hz; 0 leaves what the device has.\n"
        "gain: dB; None leaves it.\n"
        "antenna, clock_source, time_source: by the device's names; \"\" leaves "
        "them.\n"
        "ppm: correction of the oscillator.\n"
        "max_burst: most samples of a burst.\n"
        "RuntimeError where the device is not there, is busy, or cannot be set so.",
        py::arg("max_burst") = 1 << 22)
        .def("stats",
             &soapy_sink::stats,
             "Count samples, bursts, cut_bursts, late and underflows.");
}

#else

void bind_soapy(py::module& m)
{
    for (const char* name : {"soapy_source", "soapy_sink"})
        m.def(name, [](const py::args&, const py::kwargs&) -> py::object {
            throw py::import_error("this module was built without SoapySDR: install "
                                   "libsoapysdr-dev and build it again");
        });
}

#endif

} // namespace gr::neuralfec
