/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "constellation.h"

#include <gnuradio/neuralfec/soft_demapper.h>

namespace gr::neuralfec {

void bind_soft_demapper(py::module& m)
{
    py::class_<soft_demapper,
               gr::sync_interpolator,
               gr::sync_block,
               gr::block,
               gr::basic_block,
               std::shared_ptr<soft_demapper>>(m, "soft_demapper")
        .def(
            py::init([](const py::object& constellation,
                        float noise_var,
                        const std::string& method,
                        bool csi,
                        unsigned interferers,
                        const py::object& interferer) {
                if (method != "exact" && method != "max-log")
                    throw std::invalid_argument(
                        "soft_demapper: expected method 'exact' or 'max-log', got '" +
                        method + "'");
                const modulation x(constellation);
                return soft_demapper::make(x.points,
                                           x.labels,
                                           noise_var,
                                           method == "exact",
                                           csi,
                                           interferers,
                                           interferers ? modulation(interferer).points
                                                       : std::vector<gr_complex>{});
            }),
            py::arg("constellation"),
            py::arg("noise_var") = 1.0f,
            py::arg("method") = "exact",
            py::arg("csi") = false,
            py::arg("interferers") = 0,
            py::arg("interferer") = "qam4",
            "Soft demapper: complex symbols y = h x + sum_i h_i z_i + n in, LLRs\n"
            "log P(b=1|y) - log P(b=0|y) out, K = log2(M) floats a symbol.\n\n"
            "constellation: a name ('qam256'), a Constellation or a "
            "digital.constellation.\n"
            "noise_var: N0, the variance of the complex noise n, both rails together; "
            "also\n"
            "by set_noise_var(), message port noise_var and stream tags noise_var on y.\n"
            "method: 'exact' (log-sum-exp) or 'max-log'.\n"
            "csi: h comes on the second input; else h = 1.\n"
            "interferers: 0, 1 or 2, whose gains h_i come on the last inputs.\n"
            "interferer: the constellation of all z_i.\n"
            "ValueError for anything else.")
        .def("set_noise_var",
             &soft_demapper::set_noise_var,
             py::arg("noise_var"),
             "N0 from the next call of the scheduler on. ValueError where not finite and "
             "> 0.")
        .def("noise_var", &soft_demapper::noise_var)
        .def("stats",
             &soft_demapper::stats,
             "symbols; bad_symbols: those with a NaN or Inf; bad_noise_vars: refused "
             "tags and\n"
             "messages; bad_packets: packet_len tags that were no number of symbols.");
}

} // namespace gr::neuralfec
