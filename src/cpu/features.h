/* features.h - what the processor and the operating system allow; never what is preferable. */
#ifndef CC1D_CPU_FEATURES_H
#define CC1D_CPU_FEATURES_H

/* Each returns 1 or 0; cheap after the first call, and safe from any thread. */
int cc1d_cpu_has_avx2(void);   /* AVX2, FMA and F16C */
int cc1d_cpu_has_avx512(void); /* the above and AVX-512 F, BW, DQ, VL */
int cc1d_cpu_has_neon(void);

#endif
