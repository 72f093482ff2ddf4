/* Type traits, as in metal_type_traits. */
#ifndef MH_TRAITS_H
#define MH_TRAITS_H

namespace metal {

template <class T, T V> struct integral_constant {
    static constexpr T value = V;
    typedef T value_type;
    typedef integral_constant type;
    constexpr operator T() const { return V; }
};
template <bool B> using bool_constant = integral_constant<bool, B>;
typedef bool_constant<true> true_type;
typedef bool_constant<false> false_type;

template <bool B, class T = void> struct enable_if : mh::enable_if<B, T> {};
template <bool B, class T = void> using enable_if_t = typename enable_if<B, T>::type;
template <bool B, class T, class F> struct conditional : mh::conditional<B, T, F> {};
template <bool B, class T, class F> using conditional_t = typename conditional<B, T, F>::type;
template <class...> using void_t = void;

template <class T> struct remove_const { typedef T type; };
template <class T> struct remove_const<const T> { typedef T type; };
template <class T> struct remove_volatile { typedef T type; };
template <class T> struct remove_volatile<volatile T> { typedef T type; };
template <class T> struct remove_cv : mh::remove_cv<T> {};
template <class T> struct remove_reference { typedef T type; };
template <class T> struct remove_reference<T &> { typedef T type; };
template <class T> struct remove_reference<T &&> { typedef T type; };
template <class T> struct remove_pointer { typedef T type; };
template <class T> struct remove_pointer<T *> { typedef T type; };
template <class T> struct decay : remove_cv<typename remove_reference<T>::type> {};
template <class T> struct make_unsigned : mh::make_unsigned<T> {};
template <class T> struct underlying_type { typedef __underlying_type(T) type; };
#define MH_TRAIT_TYPE(name) template <class T> using name##_t = typename name<T>::type;
MH_TRAIT_TYPE(remove_const)
MH_TRAIT_TYPE(remove_volatile)
MH_TRAIT_TYPE(remove_cv)
MH_TRAIT_TYPE(remove_reference)
MH_TRAIT_TYPE(remove_pointer)
MH_TRAIT_TYPE(decay)
MH_TRAIT_TYPE(make_unsigned)
MH_TRAIT_TYPE(underlying_type)
#undef MH_TRAIT_TYPE

template <class T> remove_reference_t<T> &&declval();

template <class T, class U> struct is_same : bool_constant<mh::is_same<T, U>::value> {};
template <class T, class U> struct is_convertible : bool_constant<__is_convertible_to(T, U)> {};
template <class T, class... A> struct is_constructible : bool_constant<__is_constructible(T, A...)> {};
template <class T, class U> struct is_base_of : bool_constant<__is_base_of(T, U)> {};
template <class T, class U> constexpr bool is_same_v = is_same<T, U>::value;
template <class T, class U> constexpr bool is_convertible_v = is_convertible<T, U>::value;
template <class T, class... A> constexpr bool is_constructible_v = is_constructible<T, A...>::value;
template <class T, class U> constexpr bool is_base_of_v = is_base_of<T, U>::value;

#define MH_TRAIT(name, expression)                                   \
    template <class T> struct name : bool_constant<(expression)> {}; \
    template <class T> constexpr bool name##_v = name<T>::value;
MH_TRAIT(is_void, __is_void(T))
MH_TRAIT(is_const, __is_const(T))
MH_TRAIT(is_pointer, __is_pointer(T))
MH_TRAIT(is_reference, __is_reference(T))
MH_TRAIT(is_array, __is_array(T))
MH_TRAIT(is_enum, __is_enum(T))
MH_TRAIT(is_class, __is_class(T) && !mh::is_float<remove_cv_t<T>>::value)
MH_TRAIT(is_integral, __is_integral(T))
MH_TRAIT(is_floating_point, mh::is_float<remove_cv_t<T>>::value)
MH_TRAIT(is_arithmetic, is_integral_v<T> || is_floating_point_v<T>)
MH_TRAIT(is_scalar, is_arithmetic_v<T> || is_pointer_v<T> || is_enum_v<T>)
MH_TRAIT(is_signed, __is_signed(T) || is_floating_point_v<T>)
MH_TRAIT(is_unsigned, __is_unsigned(T))
MH_TRAIT(is_trivially_copyable, __is_trivially_copyable(T))
#undef MH_TRAIT

} // namespace metal
#endif
