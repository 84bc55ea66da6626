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
void bind_shared(
    py::class_<Block, gr::sync_block, gr::block, gr::basic_block, std::shared_ptr<Block>>&
        bound)
{
    bound
        .def("error",
             &Block::error,
             "Return why the block has ended by itself, \"\" where it has not.")
        .def("timed", &Block::timed, "Tell whether the device keeps time.")
        .def("time", &Block::time, "Return the device's time in seconds, 0 for none.");
}

} // namespace

void bind_soapy(py::module& m)
{
    py::class_<soapy_source,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<soapy_source>>
        source(m, "soapy_source");
    source
        .def(py::init([](const std::string& device,
                         double sample_rate,
                         double frequency,
                         const std::optional<double>& gain,
                         const std::string& antenna,
                         double bandwidth,
                         double lo_offset,
                         const std::string& clock_source,
                         const std::string& time_source,
                         double ppm) {
                 return soapy_source::make(device,
                                           settings_of(sample_rate,
                                                       frequency,
                                                       gain,
                                                       antenna,
                                                       bandwidth,
                                                       lo_offset,
                                                       clock_source,
                                                       time_source,
                                                       ppm));
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
    bind_shared(source);

    py::class_<soapy_sink,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<soapy_sink>>
        sink(m, "soapy_sink");
    sink.def(py::init([](const std::string& device,
                         double sample_rate,
                         double frequency,
                         const std::optional<double>& gain,
                         const std::string& antenna,
                         double bandwidth,
                         double lo_offset,
                         const std::string& clock_source,
                         const std::string& time_source,
                         double ppm,
                         std::size_t max_burst) {
                 return soapy_sink::make(device,
                                         settings_of(sample_rate,
                                                     frequency,
                                                     gain,
                                                     antenna,
                                                     bandwidth,
                                                     lo_offset,
                                                     clock_source,
                                                     time_source,
                                                     ppm),
                                         max_burst);
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
             py::arg("max_burst") = 1 << 22,
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
             "RuntimeError where the device is not there, is busy, or cannot be set so.")
        .def("stats",
             &soapy_sink::stats,
             "Count samples, bursts, cut_bursts, late and underflows.");
    bind_shared(sink);
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
