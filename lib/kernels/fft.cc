/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernels/fft.h"

#include <fftw3.h>
#include <mutex>
#include <new>
#include <stdexcept>

namespace gr::neuralfec {

namespace {

// GNU Radio's own FFTs plan under another lock; FFTW's is for all of a process.
void lock_planner()
{
    static std::once_flag once;
    std::call_once(once, fftwf_make_planner_thread_safe);
}

fftwf_complex* raw(const fft_buffer& buffer)
{
    return reinterpret_cast<fftwf_complex*>(buffer.data());
}

} // namespace

fft_buffer::fft_buffer(std::size_t size)
    : d_data(static_cast<std::complex<float>*>(
          fftwf_malloc(sizeof(std::complex<float>) * size)))
{
    if (!d_data)
        throw std::bad_alloc();
    for (std::size_t i = 0; i < size; i++)
        new (d_data.get() + i) std::complex<float>();
}

void fft_buffer::free_memory::operator()(std::complex<float>* p) const
{
    fftwf_free(p);
}

fft::fft(std::size_t size, direction d) : d_size(size)
{
    lock_planner();
    const fft_buffer in(size), out(size);
    const auto plan =
        fftwf_plan_dft_1d(static_cast<int>(size),
                          raw(in),
                          raw(out),
                          d == direction::forward ? FFTW_FORWARD : FFTW_BACKWARD,
                          FFTW_ESTIMATE | FFTW_PRESERVE_INPUT);
    if (!plan)
        throw std::invalid_argument("fft: no plan for this size");
    d_plan = std::shared_ptr<void>(
        plan, [](void* p) { fftwf_destroy_plan(static_cast<fftwf_plan>(p)); });
}

void fft::execute(const fft_buffer& in, const fft_buffer& out) const
{
    fftwf_execute_dft(static_cast<fftwf_plan>(d_plan.get()), raw(in), raw(out));
}

} // namespace gr::neuralfec
