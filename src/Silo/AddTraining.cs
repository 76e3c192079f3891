using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Faults;
using FedRLora.Training;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Inputs;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace FedRLora.Silo;

internal static class TrainingBuilderExtensions
{
    /// <summary>The trainer on this machine's device, with the faults that a plan asks for, and the exporter.</summary>
    public static void AddTraining(this IHostApplicationBuilder builder, SiloOptions options)
    {
        builder.Services.AddSingleton(_ => new LocalTrainer(new LocalTrainerOptions { Root = options.Root }));
        builder.Services.AddSingleton<ITrainer>(static services => new FaultyTrainer(services.GetRequiredService<LocalTrainer>(), services.GetRequiredService<TimeProvider>()));
        builder.Services.AddSingleton<IRunInputs>(_ => new LocalInputs(options.Root));
        builder.Services.AddSingleton<IAdapterExporter>(_ => new PeftExporter(options.Root));
    }
}
