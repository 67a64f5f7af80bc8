"""Tests that `pytest --device strict` and `--device cuda` leave out, and why: what they are about is on the CPU alone.

A pattern is a test's file and name, with `*` for anything. One that fits no test is an error. All of them run where tensors are
NumPy's.
"""

from itertools import chain

LEFT_OUT = {
    "about arrays and memory of NumPy's, which a tensor on a device does not share": """
        test_moving_average.py::test_copies_are_for_good_and_for_other_models
        test_clip_grad.py::test_one_parameter_and_none
        test_creation.py::test_who_shares_memory
        test_embedding.py::test_from_pretrained_shares_memory_and_can_be_frozen
        test_backward.py::test_an_array_operand_is_taken_as_it_is_then
        test_inplace.py::test_the_array_that_a_tensor_was_made_of_changes_too
        test_inplace.py::test_read_only_memory_is_refused*
        test_inplace.py::test_an_optimiser_refuses_a_read_only_parameter_before_it_moves_any*
        test_inplace.py::test_clipping_refuses_a_read_only_gradient
        test_interop.py::test_a_shallow_copy_shares_memory_and_its_changes
        test_interop.py::test_numpy_is_refused_where_a_gradient_would_be_lost*
        test_interop.py::test_numpy_reads_the_same_memory
        test_join.py::test_the_parts_are_views
        test_labels.py::test_what_is_done_with_shares_is_done_as_if_they_were_written_out
        test_module.py::test_a_copy_computes_the_same_and_shares_nothing*
        test_repeating.py::test_windows_are_a_view
        test_shape.py::test_rearranging_copies_nothing
        test_shape.py::test_view_refuses_to_copy_and_reshape_does
        test_tensor.py::test_in_place_arithmetic_outside_graphs_writes_into_the_memory
    """,
    "an array of NumPy's beside a tensor on a device is refused: it would be copied there": """
        test_contraction.py::test_operands_may_come_in_a_list_and_arrays_are_constants
        test_elementwise.py::test_where_takes_numbers_arrays_and_mixed_dtypes
        test_interop.py::test_arrays_and_numbers_of_numpy_stand_on_either_side
        test_linear.py::test_an_array_is_a_constant_and_an_empty_batch_is_fine
        test_op.py::test_arrays_are_constants_on_either_side
        test_optim.py::test_an_optimiser_is_a_short_rule
        test_product.py::test_an_array_is_a_constant_on_either_side
    """,
    "on the stand-in in either way, and slow": """
        test_kernels_closely.py::test_no_kernel_*
        test_kernels_closely.py::test_what_is_out_of_bounds_is_found*
        test_strict.py::test_a_step_of_training_waits_for_nothing_and_copies_nothing*
    """,
    "in either way the same, and slow: it starts programs, or compiles for GPUs that need not be there": """
        test_checkpoint.py::test_killed_at_twenty_random_moments_it_ends_with_the_same_numbers
        test_kernels.py::test_every_kernel_compiles_for_every_gpu_without_a_warning*
    """,
    "about NumPy's threads: a device has its own": """
        test_parallel.py::test_another_thread_computes_it_while_the_pass_goes_on
    """,
    "about the way to PyTorch's memory on the CPU": """
        test_interop.py::test_dlpack_is_refused_in_words
        test_interop.py::test_dlpack_of_views_numbers_and_nothing
        test_interop.py::test_pytorch_shares_memory_both_ways*
    """,
    "compares what is on the CPU with what is on a device, and says itself where": """
        test_moving_average.py::test_it_follows_the_model_to_a_device_and_a_dtype
        test_contraction.py::test_on_a_device_that_is_not_numpys
        test_module.py::test_to_a_wrong_target_moves_nothing
        test_module.py::test_to_the_same_device_and_dtype_changes_nothing
        test_operations.py::test_float32_stays_float32[move]
        test_operations.py::test_gradients_of_first_and_second_order[move]
        test_operations.py::test_values_and_gradients_are_pytorchs[move]
        test_reduction.py::test_constants_stand_beside_the_prediction
        test_state.py::test_from_a_device
        test_tensor.py::test_to_another_dtype_device_or_tensor
    """,
    "reads what is printed, where the device is named": """
        test_cli.py::test_the_demo_writes_pictures_and_weights
        test_interop.py::test_a_huge_tensor_is_summed_up
        test_interop.py::test_a_tensor_shows_itself*
        test_interop.py::test_formats?x6*
        test_state.py::test_examples
    """,
    "on a device such an error comes with the next copy from there: test_deferred_checks.py is about that": """
        test_gathering.py::test_wrong_input_is_refused_in_words*IndexError*
        test_likelihood.py::test_wrong_input_is_refused_in_words*ValueError*got a number*
        test_likelihood.py::test_wrong_input_is_refused_in_words*ValueError-message0*
        test_metrics.py::test_wrong_input_is_refused_in_words*number of classes, got 3*
        test_train.py::test_a_loss_that_is_nan_stops_before_the_weights_are_spoiled
        test_unpool.py::test_wrong_input_is_refused_in_words*IndexError*
    """,
    "NumPy warns of it, or raises; a device computes on": """
        test_elementwise.py::test_powers_are_numpys_also_of_negative_and_singular_bases?float16-0.5*
        test_elementwise.py::test_wrong_input_is_refused_in_words*ZeroDivisionError*
        test_functions.py::test_the_domain_has_ends_and_numpy_warns_beyond
        test_indexing.py::test_wrong_input_is_refused_in_words*diagonal*
    """,
    "data sets and transforms of them work on the CPU; a batch goes to the device after": """
        test_dataset.py::test_data_sets_in_a_row
        test_dataset.py::test_data_sets_in_a_row_must_be_alike
        test_degradation.py::test_the_example_draws_the_picture_and_goes_on_where_it_was
        test_degradation.py::test_the_example_gives_the_same_digits_to_test_with_and_new_ones_to_learn
        test_loader.py::test_a_pass_stopped_anywhere_goes_on*
        test_loader.py::test_a_transform_leaves_the_order_as_it_is
        test_loader.py::test_each_batch_and_pass_has_noise_of_its_own
        test_mnist.py::test_tensors_are_the_whole_set
        test_prefetch.py::test_workers_change_no_bit
        test_transforms.py::test_mixup_in_a_loader
    """,
}

STAND_IN = {
    "it learns for minutes, in kernels that a processor runs thread by thread; a real GPU does it too": """
        test_lecture.py::*02_training*
        test_lecture.py::*09_transfer_learning*
        test_models_learn.py::*
    """,
    "it counts: that comes out the same, and takes minutes": """
        test_catalogue.py::test_multiply_adds_are_the_published_ones*
        test_models_densenet.py::test_parameters_and_multiply_adds*
        test_models_mobile.py::test_parameters_and_multiply_adds*
        test_models_resnet.py::test_parameters_and_multiply_adds_of_the_networks_for_*
        test_models_resnet.py::test_receptive_fields*
    """,
    "the same kernels as in other networks of its test, on a thousand channels": """
        test_models_resnet.py::test_scores_and_gradients_are_pytorchs?bottleneck of 2015*
        test_models_resnet.py::test_scores_and_gradients_are_pytorchs?squeeze and excitation*
        test_models_resnet.py::test_scores_and_gradients_are_pytorchs?wide bottleneck*
    """,
}
"""What `--device strict` alone leaves out."""


def reasons(device):
    """Pattern → why it is left out on this device."""
    groups = LEFT_OUT | STAND_IN if device == "strict" else LEFT_OUT
    return dict(chain.from_iterable(((p.strip(), why) for p in ps.splitlines() if p.strip()) for why, ps in groups.items()))
