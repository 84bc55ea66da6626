/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/bcjr.h"
#include "kernels/viterbi.h"

#include "arrays.h"

namespace gr::neuralfec {

namespace {

// (frames, n) of any frames; one that is not is told before the sizes are.
template <typename Kernel, typename Out>
py::tuple decode_frames(const Kernel& kernel, const array<float>& llrs)
{
    if (llrs.ndim() != 2 || llrs.shape(1) != py::ssize_t(kernel.n()))
        throw std::invalid_argument("expected LLRs of shape (frames, " +
                                    std::to_string(kernel.n()) + ")");
    array<Out> decided({std::size_t(llrs.shape(0)), kernel.k()});
    const auto in = view(llrs);
    const auto out = mutable_view(decided);
    uint64_t not_finite;
    {
        py::gil_scoped_release release;
        not_finite = kernel.decode(in, out);
    }
    return py::make_tuple(decided, not_finite);
}

// Keeps what the kernel has not consumed.
class viterbi_stream
{
public:
    explicit viterbi_stream(viterbi_stream_kernel kernel)
        : d_kernel(std::move(kernel)), d_pending(d_kernel.history())
    {
    }

    const viterbi_stream_kernel& kernel() const { return d_kernel; }

    viterbi_stream_kernel::progress decode(span<const float> llrs,
                                           std::vector<uint8_t>& bits)
    {
        d_pending.insert(d_pending.end(), llrs.begin(), llrs.end());
        bits.resize(d_pending.size() / d_kernel.received() * d_kernel.block());
        const auto done = d_kernel.decode(d_pending, bits);
        d_pending.erase(d_pending.begin(), d_pending.begin() + done.consumed);
        return done;
    }

private:
    viterbi_stream_kernel d_kernel;
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
        .def(py::init([frame](const std::vector<unsigned>& generators,
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
             "Messages uint8 (F, k) of LLRs float32 (F, n), and the number of NaN and "
             "infinite "
             "LLRs, which count as 0.");
    py::class_<viterbi_stream>(m, "ViterbiStream")
        .def(py::init([](const std::vector<unsigned>& generators,
                         unsigned feedback,
                         const std::vector<uint8_t>& puncture,
                         std::size_t depth,
                         std::size_t block,
                         const std::string& metric) {
                 return viterbi_stream({convolutional_trellis(generators, feedback),
                                        puncture,
                                        depth,
                                        block,
                                        viterbi_metric_from_name(metric)});
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
                const auto in = view(llrs);
                std::vector<uint8_t> bits;
                viterbi_stream_kernel::progress done;
                {
                    py::gil_scoped_release release;
                    done = stream.decode(in, bits);
                }
                return py::make_tuple(array<uint8_t>(done.produced, bits.data()),
                                      done.not_finite);
            },
            py::arg("llrs"),
            "The bits, uint8, that these further LLRs complete, and the number of NaN "
            "and "
            "infinite LLRs.");
    py::class_<bcjr_kernel>(m, "BcjrDecoder")
        .def(py::init([frame](const std::vector<unsigned>& generators,
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
             "NaN and infinite LLRs, which count as 0.");
}

} // namespace gr::neuralfec
