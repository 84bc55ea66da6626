/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/bcjr.h"
#include "kernels/viterbi.h"

#include "arrays.h"

#include <algorithm>
#include <mutex>

namespace gr::neuralfec {

namespace {

// Keeps what the kernel has not consumed: a stream is one thread's at a time.
class viterbi_stream
{
public:
    explicit viterbi_stream(viterbi_stream_kernel kernel)
        : d_kernel(std::move(kernel)), d_pending(d_kernel.history())
    {
    }

    std::unique_lock<std::mutex> lock()
    {
        std::unique_lock<std::mutex> lock(d_mutex, std::try_to_lock);
        if (!lock)
            throw std::runtime_error(
                "expected one thread to decode a stream, got two at once");
        return lock;
    }

    const viterbi_stream_kernel& kernel() const { return d_kernel; }

    // Bits that so many further LLRs complete.
    std::size_t bits(std::size_t llrs) const
    {
        const std::size_t all = d_pending.size() + llrs;
        return all < d_kernel.window()
                   ? 0
                   : ((all - d_kernel.window()) / d_kernel.received() + 1) *
                         d_kernel.block();
    }

    uint64_t decode(span<const float> llrs, span<uint8_t> bits)
    {
        // Windows that begin in what was kept are put together; the others lie in llrs.
        const std::size_t kept = d_pending.size(), stride = d_kernel.received();
        const std::size_t begun = (kept + stride - 1) / stride;
        const std::size_t missing =
            begun ? (begun - 1) * stride + d_kernel.window() - kept : 0;
        const std::size_t copied = std::min(missing, llrs.size());
        d_pending.insert(d_pending.end(), llrs.begin(), llrs.begin() + copied);
        auto done = d_kernel.decode(d_pending, bits);
        if (copied < missing || llrs.size() == copied) {
            d_pending.erase(d_pending.begin(), d_pending.begin() + done.consumed);
            return done.not_a_number;
        }
        const std::size_t used = done.consumed - kept;
        const auto rest = llrs.subspan(used, llrs.size() - used);
        const auto more = d_kernel.decode(
            rest, bits.subspan(done.produced, bits.size() - done.produced));
        d_pending.assign(rest.begin() + more.consumed, rest.end());
        return done.not_a_number + more.not_a_number;
    }

private:
    const viterbi_stream_kernel d_kernel;
    std::mutex d_mutex;
    std::vector<float> d_pending;
};

} // namespace

void bind_convolutional(py::module& m)
{
    const auto frame = [](const convolutional_trellis& trellis,
                          std::size_t k,
                          const std::string& end,
                          const std::vector<uint8_t>& puncture) {
        return convolutional_frame(trellis, k, termination_from_name(end), puncture);
    };
    py::class_<viterbi_frame_kernel>(m, "ViterbiDecoder")
        .def(py::init([frame](const std::vector<int>& generators,
                              unsigned feedback,
                              std::size_t k,
                              const std::string& termination,
                              const std::vector<uint8_t>& puncture,
                              const std::string& metric,
                              float scale) {
                 const convolutional_trellis trellis(generators, feedback);
                 return viterbi_frame_kernel(trellis,
                                             frame(trellis, k, termination, puncture),
                                             viterbi_metric_from_name(metric),
                                             scale);
             }),
             py::arg("generators"),
             py::arg("feedback"),
             py::arg("k"),
             py::arg("termination"),
             py::arg("puncture") = std::vector<uint8_t>{},
             py::arg("metric") = "int16",
             py::arg("scale") = 0.0f)
        .def_property_readonly("n", &viterbi_frame_kernel::n)
        .def_property_readonly("k", &viterbi_frame_kernel::k)
        .def_property_readonly("limit", &viterbi_frame_kernel::limit)
        .def("decode",
             &decode_frames<viterbi_frame_kernel, uint8_t>,
             py::arg("llrs"),
             "Messages uint8 (F, k) of LLRs float32 (F, n), and the number of NaN, "
             "which count as 0.");
    py::class_<viterbi_stream>(m, "ViterbiStream")
        .def(py::init([](const std::vector<int>& generators,
                         unsigned feedback,
                         const std::vector<uint8_t>& puncture,
                         std::size_t depth,
                         std::size_t block,
                         const std::string& metric) {
                 return std::make_unique<viterbi_stream>(
                     viterbi_stream_kernel(convolutional_trellis(generators, feedback),
                                           puncture,
                                           depth,
                                           block,
                                           viterbi_metric_from_name(metric)));
             }),
             py::arg("generators"),
             py::arg("feedback"),
             py::arg("puncture") = std::vector<uint8_t>{},
             py::arg("depth") = 0,
             py::arg("block") = 2048,
             py::arg("metric") = "int16")
        .def_property_readonly(
            "depth", [](const viterbi_stream& stream) { return stream.kernel().depth(); })
        .def_property_readonly(
            "block", [](const viterbi_stream& stream) { return stream.kernel().block(); })
        .def(
            "decode",
            [](viterbi_stream& stream, const array<float>& llrs) {
                const auto lock = stream.lock();
                const auto in = view(llrs);
                array<uint8_t> bits(stream.bits(in.size()));
                const auto out = mutable_view(bits);
                uint64_t not_a_number;
                {
                    py::gil_scoped_release release;
                    not_a_number = stream.decode(in, out);
                }
                return py::make_tuple(bits, not_a_number);
            },
            py::arg("llrs"),
            "The bits, uint8, that these further LLRs complete, and the number of "
            "NaN.");
    py::class_<bcjr_kernel>(m, "BcjrDecoder")
        .def(py::init([frame](const std::vector<int>& generators,
                              unsigned feedback,
                              std::size_t k,
                              const std::string& termination,
                              const std::vector<uint8_t>& puncture,
                              const std::string& method) {
                 const convolutional_trellis trellis(generators, feedback);
                 return bcjr_kernel(trellis,
                                    frame(trellis, k, termination, puncture),
                                    bcjr_method_from_name(method));
             }),
             py::arg("generators"),
             py::arg("feedback"),
             py::arg("k"),
             py::arg("termination"),
             py::arg("puncture") = std::vector<uint8_t>{},
             py::arg("method") = "log-map")
        .def_property_readonly("n", &bcjr_kernel::n)
        .def_property_readonly("k", &bcjr_kernel::k)
        .def("decode",
             &decode_frames<bcjr_kernel, float>,
             py::arg("llrs"),
             "LLRs float32 (F, k) of the messages from LLRs float32 (F, n), and the "
             "number of "
             "NaN, which count as 0.");
}

} // namespace gr::neuralfec
