/* SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Discrete Fourier transforms by FFTW.
 */
#pragma once

#include <complex>
#include <cstddef>
#include <memory>

namespace gr::neuralfec {

//! An aligned array for transforms.
class fft_buffer
{
public:
    explicit fft_buffer(std::size_t size);
    std::complex<float>* data() const { return d_data.get(); }

private:
    struct free_memory {
        void operator()(std::complex<float>* p) const;
    };
    std::unique_ptr<std::complex<float>, free_memory> d_data;
};

/*!
 * X_k = sum_n x_n exp(-+ 2 pi j k n / N), unscaled. Plans are estimated and never
 * measured, so that the same samples give the same bits in each run. Any number of
 * threads may use it.
 */
class fft
{
public:
    enum class direction { forward, backward };
    fft(std::size_t size, direction d);

    std::size_t size() const { return d_size; }
    //! in and out are fft_buffers of N elements, not the same one.
    void execute(const fft_buffer& in, const fft_buffer& out) const;

private:
    std::size_t d_size;
    std::shared_ptr<void> d_plan;
};

} // namespace gr::neuralfec
