// compile_metal VERSION < text: compiles Metal text in that version of the language ("3.1") by the system's
// compiler, the one behind torch.mps.compile_shader. Status 1 and the compiler's words where it fails.
#import <Foundation/Foundation.h>
#import <Metal/Metal.h>
#include <stdio.h>

static int fail(NSString *why) {
    fprintf(stderr, "%s\n", why.UTF8String);
    return 1;
}

int main(int count, char **arguments) {
    @autoreleasepool {
        int major = 0, minor = 0;
        if (count != 2 || sscanf(arguments[1], "%d.%d", &major, &minor) != 2) return fail(@"expected MAJOR.MINOR");
        NSData *data = [[NSFileHandle fileHandleWithStandardInput] readDataToEndOfFile];
        NSString *text = [[NSString alloc] initWithData:data encoding:NSUTF8StringEncoding];
        id<MTLDevice> device = MTLCreateSystemDefaultDevice();
        if (!device) return fail(@"the system has no Metal device");
        MTLCompileOptions *options = [MTLCompileOptions new];
        // MTLLanguageVersion3_1 and its like, by value: an older SDK has no name for a newer version.
        options.languageVersion = (MTLLanguageVersion)(((NSUInteger)major << 16) + (NSUInteger)minor);
        @try {
            NSError *error = nil;
            id<MTLLibrary> library = [device newLibraryWithSource:text options:options error:&error];
            if (!library) return fail(error.localizedDescription);
        } @catch (NSException *exception) {
            return fail(exception.reason);
        }
        return 0;
    }
}
